"""A trained run as a function of two recordings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

import adiff_jax
from adiff_jax import api
from adiff_jax.api import Explainer
from adiff_jax.audio.io import AudioError, write_audio
from adiff_jax.data.schema import Source
from adiff_jax.evaluate.predictions import read_predictions
from tests.top import tiny_run

RATE = 16_000
SAMPLES = round(tiny_run.SECONDS * RATE)
FRAMES = 6  # of the encoder in a clip of that length


@pytest.fixture(scope="session")
def waves(test_pairs: Source) -> tuple[np.ndarray, np.ndarray]:
    return test_pairs[1].waves


def test_files_and_arrays_of_the_same_samples_say_the_same(
    explainer: Explainer, waves: tuple[np.ndarray, np.ndarray], tmp_path: Path
):
    paths = [tmp_path / "before.wav", tmp_path / "after.flac"]
    for path, wave in zip(paths, waves, strict=True):
        write_audio(path, wave, RATE)
    read = [sf.read(path, dtype="float32")[0] for path in paths]
    of_paths = explainer(paths[0], str(paths[1]), decode="greedy")
    of_arrays = explainer(*read, decode="greedy")
    assert (of_paths.text, of_paths.score) == (of_arrays.text, of_arrays.score)
    assert of_paths.seconds > 0


def test_the_order_of_the_clips_matters(explainer: Explainer, waves: tuple[np.ndarray, np.ndarray]):
    there, back = explainer(*waves, decode="greedy"), explainer(*waves[::-1], decode="greedy")
    assert there.score != back.score


def test_a_pair_alone_says_what_it_says_in_a_batch(
    explainer: Explainer, answered: dict[str, Any], adc_run: Path, test_pairs: Source
):
    rows = {row.id: row for row in read_predictions(adc_run / "predictions" / "pairs.jsonl")}
    for index in (0, 3, tiny_run.TEST - 1):
        example = test_pairs[index]
        said = explainer(*example.waves, decode="greedy")
        assert said.text == rows[example.id].text
        assert said.score == pytest.approx(rows[example.id].logprob, rel=1e-4)


def test_n_best_sentences_come_best_first(
    explainer: Explainer, waves: tuple[np.ndarray, np.ndarray]
):
    said = explainer(*waves, decode="beam:4", n_best=3)
    scores = [score for _, score in said.n_best]
    assert len(said.n_best) == 3
    assert scores == sorted(scores, reverse=True)
    assert (said.text, said.score) == said.n_best[0]


@pytest.mark.parametrize("decode", ["greedy", "sample:0.8", "beam:2"])
def test_more_sentences_than_the_strategy_finds_are_refused(
    explainer: Explainer, waves: tuple[np.ndarray, np.ndarray], decode: str
):
    with pytest.raises(ValueError, match="n_best=3 needs decode='beam:3'"):
        explainer(*waves, decode=decode, n_best=3)


def test_no_sentences_are_refused(explainer: Explainer, waves: tuple[np.ndarray, np.ndarray]):
    for count in (0, -1):
        with pytest.raises(ValueError, match=f"n_best={count}: it must be at least 1"):
            explainer(*waves, n_best=count)


def test_of_a_long_clip_the_middle_is_compared_and_a_note_says_so(
    explainer: Explainer, waves: tuple[np.ndarray, np.ndarray]
):
    ends = np.random.default_rng(0).uniform(-0.5, 0.5, (2, SAMPLES)).astype(np.float32)
    long = np.concatenate([ends[0], waves[1], ends[1]])
    said = explainer(waves[0], long, decode="greedy")
    assert said.notes == ("the second clip is 3.0 s long; its middle 1 s are compared",)
    plain = explainer(*waves, decode="greedy")
    assert plain.notes == ()
    assert (said.text, said.score) == (plain.text, plain.score)


def test_a_clip_shorter_than_the_window_is_used_as_it_is(
    explainer: Explainer, waves: tuple[np.ndarray, np.ndarray]
):
    batch, (notes,), _ = explainer.batch([(waves[0], waves[1][: SAMPLES // 2])])
    assert notes == ()
    assert batch.length_1.tolist() == [SAMPLES]
    assert batch.length_2.tolist() == [SAMPLES // 2]
    assert not batch.audio_2[0, SAMPLES // 2 :].any()


def test_attention_is_over_both_clips_and_with_the_cac_mask_between_them_only(
    explainer: Explainer, waves: tuple[np.ndarray, np.ndarray]
):
    found = explainer.attention(*waves)
    assert found.shape == (2 * FRAMES, 2 * FRAMES)
    np.testing.assert_allclose(found.sum(axis=1), np.ones(2 * FRAMES), rtol=1e-5)
    assert (found >= 0).all()
    assert not found[:FRAMES, :FRAMES].any()
    assert not found[FRAMES:, FRAMES:].any()


def test_frames_and_rate_are_those_of_the_encoder(explainer: Explainer):
    assert explainer.rate == RATE
    assert explainer.frame_seconds == pytest.approx(8 * 320 / RATE)


# --- clips that cannot be used ----------------------------------------------------------------


def nan_file(path: Path) -> None:
    sf.write(path, np.full(SAMPLES, np.nan, np.float32), RATE, subtype="FLOAT")


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "absent.wav": (lambda path: None, "no such file"),
    "empty.wav": (lambda path: path.write_bytes(b""), "is empty"),
    "prose.wav": (
        lambda path: path.write_text("not audio at all " * 50),
        "cannot be read as audio",
    ),
    "silent.wav": (lambda path: sf.write(path, np.zeros(SAMPLES), RATE), "is silent"),
    "nan.wav": (nan_file, "NaN or infinite"),
    "one.wav": (lambda path: sf.write(path, np.ones(1), RATE), "holds 1 samples"),
    "folder.wav": (lambda path: path.mkdir(), "is a folder"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_used_is_named_on_either_side(
    explainer: Explainer, waves: tuple[np.ndarray, np.ndarray], tmp_path: Path, name: str
):
    write, message = BAD_FILES[name]
    write(tmp_path / name)
    for clips in ((tmp_path / name, waves[1]), (waves[0], tmp_path / name)):
        with pytest.raises(AudioError) as caught:
            explainer(*clips)
        assert name in str(caught.value)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(SAMPLES, np.float32), "is silent"),
        (np.full(SAMPLES, np.nan, np.float32), "NaN or infinite"),
        (np.ones((SAMPLES, 2), np.float32), r"has shape \(16000, 2\)"),
        (np.ones(1, np.float32), "holds 1 samples"),
        (np.full(SAMPLES, 1000, np.int16), "holds int16: give floats within ±1"),
    ],
)
def test_an_array_that_cannot_be_used_is_refused(
    explainer: Explainer, waves: tuple[np.ndarray, np.ndarray], wave: np.ndarray, message: str
):
    with pytest.raises(AudioError, match=message):
        explainer(wave, waves[1])


# --- loading ----------------------------------------------------------------------------------


def test_a_tagger_has_nothing_to_say(tagger_run: Path):
    with pytest.raises(ValueError, match="tagger is a tagger: it has no sentences"):
        api.load(tagger_run)


def test_the_package_loads_a_run_by_its_path(
    adc_run: Path, explainer: Explainer, waves: tuple[np.ndarray, np.ndarray]
):
    loaded = adiff_jax.load(str(adc_run))
    assert loaded.experiment == explainer.experiment
    assert loaded.tokenizer.vocab_size == explainer.tokenizer.vocab_size
