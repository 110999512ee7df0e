"""A trained ADIFF as a function of pairs and a question."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adiff_jax.api import Explainer
from adiff_jax.arrays import Batch
from adiff_jax.audio.io import AudioError, write_audio
from adiff_jax.data.prompts import CANONICAL, question
from adiff_jax.data.schema import Example
from adiff_jax.evaluate.predictions import read_predictions
from tests.quick import quick_jit
from tests.top.tiny_adiff import RATE

Pair = tuple[np.ndarray, np.ndarray]


def same(one: Any, other: Any) -> bool:
    """Whether two explanations say the same, as surely."""
    return (one.text, one.prompt) == (other.text, other.prompt) and one.score == pytest.approx(
        other.score, rel=1e-4
    )


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ({}, CANONICAL["tier-1"]),
        ({"tier": 1}, CANONICAL["tier-1"]),
        ({"tier": 2}, CANONICAL["tier-2"]),
        ({"tier": 3}, CANONICAL["tier-3"]),
        ({"caption": "first"}, CANONICAL["caption-first"]),
        ({"caption": "second"}, CANONICAL["caption-second"]),
        ({"caption": "both"}, CANONICAL["caption-both"]),
        ({"prompt": "which dog?"}, "which dog?"),
    ],
)
def test_a_question_is_asked_in_its_words(asked: dict[str, Any], prompt: str):
    assert question(**asked) == prompt


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tier": 4}, "tier is 4: ask for 1"),
        ({"tier": 0}, "tier is 0: ask for 1"),
        ({"caption": "third"}, "caption is 'third': ask for first, second or both"),
        ({"tier": 1, "prompt": "x"}, "give one of them"),
        ({"tier": 1, "caption": "both"}, "give one of them"),
        ({"caption": "both", "prompt": "x"}, "give one of them"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    adiff: Explainer, adiff_waves: list[Pair], asked: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        adiff(*adiff_waves[0], **asked)


def test_the_question_is_heard_by_the_model(adiff: Explainer, adiff_waves: list[Pair]):
    said = [adiff(*adiff_waves[0], tier=tier) for tier in (1, 2, 3)]
    assert [one.prompt for one in said] == [CANONICAL[f"tier-{tier}"] for tier in (1, 2, 3)]
    assert len({one.score for one in said}) == 3
    assert same(adiff(*adiff_waves[0]), said[0])
    assert same(adiff(*adiff_waves[0], prompt=CANONICAL["tier-2"]), said[1])


def test_a_prompt_that_does_not_fit_is_refused(adiff: Explainer, adiff_waves: list[Pair]):
    with pytest.raises(ValueError, match="shorten it"):
        adiff(*adiff_waves[0], prompt="why? " * 30)


def test_arrays_say_what_their_files_say(adiff: Explainer, adiff_waves: list[Pair], tmp_path: Path):
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for path, wave in zip(paths, adiff_waves[0], strict=True):
        write_audio(path, wave, RATE)
    of_files = adiff(paths[0], str(paths[1]), tier=2)
    of_arrays = adiff(*[adiff.wave(path) for path in paths], tier=2)
    assert same(of_files, of_arrays)
    assert of_files.events == of_arrays.events


def test_a_pair_alone_says_what_it_says_among_many(adiff: Explainer, adiff_waves: list[Pair]):
    many = adiff.many(adiff_waves, tier=3)
    assert len(many) == 3
    for pair, among in zip(adiff_waves, many, strict=True):
        alone = adiff(*pair, tier=3)
        assert same(alone, among)
        for one, other in zip(alone.events, among.events, strict=True):
            assert dict(one) == pytest.approx(dict(other), rel=1e-4)
    assert len({one.score for one in many}) == 3
    assert adiff.many([]) == []


def test_the_order_of_the_clips_matters(adiff: Explainer, adiff_waves: list[Pair]):
    there, back = adiff(*adiff_waves[0]), adiff(*adiff_waves[0][::-1])
    assert there.score != back.score
    assert there.events == back.events[::-1]


def test_a_pair_says_what_it_says_in_an_evaluation(
    adiff: Explainer, adiff_waves: list[Pair], adiff_answered: dict[str, Any], adiff_run: Path
):
    rows = read_predictions(adiff_run / "predictions" / "pairs.jsonl")
    for pair, row in zip(adiff_waves, rows, strict=False):
        said = adiff(*pair)
        assert (said.text, said.prompt) == (row.text, row.prompt)
        assert said.score == pytest.approx(row.logprob, rel=1e-3)


@pytest.mark.slow
def test_beams_give_several_sentences_best_first(adiff: Explainer, adiff_waves: list[Pair]):
    said = adiff(*adiff_waves[0], decode="beam:3", n_best=2)
    assert len(said.n_best) == 2
    assert said.n_best[0][1] >= said.n_best[1][1]
    assert (said.text, said.score) == said.n_best[0]


# --- events -----------------------------------------------------------------------------------


def test_events_are_the_probabilities_of_the_head_by_name(
    adiff: Explainer, adiff_waves: list[Pair]
):
    said = adiff(*adiff_waves[0])
    classes = adiff.trained.parts.classes
    assert len(said.events) == 2
    for clip in said.events:
        assert {name for name, _ in clip} == {*classes}
        chances = [chance for _, chance in clip]
        assert chances == sorted(chances, reverse=True)
        assert all(0 < chance < 1 for chance in chances)
    parts, variables = adiff.trained.parts, adiff.trained.variables
    row = parts.encode(Example("pair", adiff_waves[0], RATE, prompt="any question"), 0)
    row = {name: np.asarray(value)[None] for name, value in row.items() if "tokens" not in name}
    tags = quick_jit(partial(parts.objective.module.apply, method="tags"))
    logits = np.asarray(tags(variables, Batch(**row)))[0]
    for clip, expected in zip(said.events, 1 / (1 + np.exp(-logits)), strict=True):
        assert dict(clip) == pytest.approx(dict(zip(classes, expected, strict=True)), abs=1e-5)


# --- recordings of any length -----------------------------------------------------------------


def test_of_a_long_recording_the_middle_is_heard_and_a_note_says_so(
    adiff: Explainer, adiff_waves: list[Pair]
):
    first, second = adiff_waves[0]
    long = np.concatenate([second[::-1], second, first])
    said, plain = adiff(first, long), adiff(first, second)
    assert said.notes == ("the second clip is 3.0 s long; its middle 1 s are compared",)
    assert same(said, plain)


def test_a_window_of_silence_is_noted_with_the_way_out(adiff: Explainer, adiff_waves: list[Pair]):
    first, second = adiff_waves[0]
    long = np.concatenate([second, 0 * second, second])
    assert adiff(first, long).notes == (
        "the second clip is 3.0 s long; its middle 1 s are compared, and are silent",
        "hear all of the second clip with --windows (whole=True)",
    )


def test_a_recording_of_two_equal_windows_is_heard_as_one_of_them(
    adiff: Explainer, adiff_waves: list[Pair]
):
    first, second = adiff_waves[0]
    plain = adiff(first, second)
    whole = adiff(first, np.concatenate([second, second]), whole=True)
    assert same(whole, plain)
    assert whole.notes == ()
    assert dict(whole.events[1]) == pytest.approx(dict(plain.events[1]), rel=1e-4)


def test_a_short_recording_is_the_same_heard_whole(adiff: Explainer, adiff_waves: list[Pair]):
    first, second = adiff_waves[0]
    short = second[: RATE // 2]
    assert same(adiff(first, short, whole=True), adiff(first, short))


def test_heard_whole_embeddings_are_averaged_and_the_most_certain_window_gives_an_event(
    adiff: Explainer, adiff_waves: list[Pair]
):
    (first, second), (third, _), _ = adiff_waves
    long = np.concatenate([second, third])
    parts, _, heard = adiff.batch([(second, third)], "any question")
    whole, _, both = adiff.batch([(first, long)], "any question", whole=True)
    assert heard is not None and both is not None
    mean = (np.asarray(parts.features_1) + np.asarray(parts.features_2)) / 2
    np.testing.assert_allclose(whole.features_2, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(both.events[1], heard.events.max(axis=0), rtol=1e-4)
    assert not np.allclose(parts.features_1, parts.features_2)


# --- models that read no prompt ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"tier": 1}, "reads no prompt: leave out tier, caption and prompt"),
        ({"caption": "both"}, "reads no prompt"),
        ({"prompt": "x"}, "reads no prompt"),
        ({"whole": True}, "recordings cannot be heard whole"),
    ],
)
def test_a_model_without_prompts_refuses_them(
    explainer: Explainer, test_pairs: Any, asked: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        explainer(*test_pairs[1].waves, **asked)


def test_a_model_of_vectors_has_no_attention(adiff: Explainer, adiff_waves: list[Pair]):
    assert not adiff.compares_frames
    with pytest.raises(ValueError, match="no attention over time"):
        adiff.attention(*adiff_waves[0])


def test_one_clip_that_cannot_be_used_is_named(adiff: Explainer, adiff_waves: list[Pair]):
    with pytest.raises(AudioError, match=r"absent\.wav"):
        adiff.many([adiff_waves[0], (adiff_waves[1][0], "absent.wav")])
