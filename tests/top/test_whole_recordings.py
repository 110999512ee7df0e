"""`adiff evaluate --windows`: every clip of a split heard whole, and warnings measured on it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from adiff_jax import answer, cli, run
from adiff_jax.answer import Answering
from adiff_jax.api import Explainer
from adiff_jax.data.pipeline import ExampleError
from adiff_jax.data.schema import Example, Source, Truth
from adiff_jax.data.sources import open_source
from adiff_jax.data.whole_clips import WholeClips
from adiff_jax.evaluate.predictions import read_predictions
from adiff_jax.experiment import ConfigError
from adiff_jax.known_pairs import truths_of
from adiff_jax.listening import hear_whole
from adiff_jax.run import Trained
from tests.top import tiny_adiff
from tests.top.conftest import Quickly

SECONDS = 2.5 * tiny_adiff.tiny_run.SECONDS


@pytest.fixture(scope="module")
def long_pairs() -> Source:
    return open_source(tiny_adiff.explanations("test", tiny_adiff.TEST, SECONDS))


@pytest.fixture(scope="module")
def whole(adiff_trained: Trained, quickly: Quickly) -> dict[str, Any]:
    with quickly():
        return answer.answer(adiff_trained, "long", Answering(windows=True))


def test_every_pair_says_what_it_says_heard_whole_by_itself(
    adiff: Explainer, whole: dict[str, Any], adiff_run: Path, long_pairs: Source
):
    rows = read_predictions(adiff_run / "predictions" / "long.windows.jsonl")
    assert len(rows) == tiny_adiff.TEST
    for index in (0, tiny_adiff.TEST - 1):
        said = adiff(*long_pairs[index].waves, whole=True)
        assert said.text == rows[index].text
        assert said.score == pytest.approx(rows[index].logprob, rel=1e-3)
    middle = adiff(*long_pairs[0].waves)
    assert abs(middle.score - rows[0].logprob) > 0.01


def test_its_answers_have_a_file_of_their_own_and_its_scores_say_so(
    whole: dict[str, Any], adiff_run: Path
):
    written = json.loads((adiff_run / "predictions" / "long.windows.metrics.json").read_text())
    assert written["windows"] is True and whole["windows"] is True
    assert written["count"] == tiny_adiff.TEST
    assert written["baselines"].keys() == {"most frequent", "nearest"}
    assert "swap" in written["structured"]
    assert not (adiff_run / "predictions" / "long.jsonl").exists()


def test_clips_as_long_as_the_window_score_the_same(
    adiff_trained: Trained, adiff_answered: dict[str, Any], tmp_path: Path
):
    other = replace(adiff_trained, directory=run.RunDirectory.at(tmp_path))
    found = answer.answer(other, "pairs", Answering(windows=True))
    expected = {**adiff_answered, "windows": True}
    assert found.keys() == expected.keys()
    assert found["captions"] == pytest.approx(expected["captions"])
    assert found["unsupported"] == expected["unsupported"]
    (rows, before) = (
        read_predictions(folder / "predictions" / name)
        for folder, name in (
            (tmp_path, "pairs.windows.jsonl"),
            (Path(str(adiff_trained.directory.path)), "pairs.jsonl"),
        )
    )
    for one, other_row in zip(rows, before, strict=True):
        assert one.text == other_row.text
        assert one.logprob == pytest.approx(other_row.logprob, rel=1e-3)


def test_embeddings_are_those_of_each_clip_on_any_number_of_processes(
    adiff: Explainer, adiff_trained: Trained, long_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    """Each of three processes hears its share; together they are what one hears."""
    trained = adiff_trained
    alone = hear_whole(trained.parts, trained.variables, long_pairs)
    assert len(alone) == tiny_adiff.TEST
    for index in (0, 7):
        batch, _, heard = adiff.batch([long_pairs[index].waves], "any question", whole=True)
        assert heard is not None
        found = alone[index].features
        np.testing.assert_allclose(found[0], np.asarray(batch.features_1)[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[1], np.asarray(batch.features_2)[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(alone.events[index], heard.events, rtol=1e-4)
    shares: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(
        "adiff_jax.listening.gather_each",
        lambda rows, count: shares.append(rows) or rows,
    )
    for process in range(3):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        hear_whole(trained.parts, trained.variables, long_pairs)
    ids = [[row["id"] for row in rows] for rows in shares]
    assert ids == [list(range(process, tiny_adiff.TEST, 3)) for process in range(3)]
    for row in (row for rows in shares for row in rows):
        np.testing.assert_allclose(row["embeddings"], alone.embeddings[row["id"]], rtol=1e-5)


class Embedded:
    """A pair of which the audio was left behind."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Example:
        return Example("embedded", (), 0, features=(np.ones((1, 2), np.float32),) * 2)

    def truth(self, index: int) -> Truth:
        raise NotImplementedError

    def texts(self) -> Any:
        raise NotImplementedError


def test_what_holds_no_audio_cannot_be_heard_whole(adiff_trained: Trained):
    with pytest.raises(ExampleError, match=r"example 0 \(embedded\): .* not the clips"):
        WholeClips(Embedded(), adiff_trained.parts.encode)(0)


def test_other_models_hear_one_window(trained: Trained, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ConfigError, match="--windows: .* trained Adc, which hears one window"):
        answer.answer(trained, "pairs", Answering(windows=True))


def test_the_command_line_hears_whole_and_prints_so(
    adiff_trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    given: list[Any] = []

    def answering(trained: Trained, split: str, config: Answering) -> dict[str, Any]:
        given.append((split, config))
        return {"decode": "greedy", "windows": True}

    monkeypatch.setattr("adiff_jax.train.compilation.enable_compile_cache", lambda: None)
    monkeypatch.setattr(run, "load_trained", lambda path: adiff_trained)
    monkeypatch.setattr(answer, "answer", answering)
    cli.main(["evaluate", "run", "--split", "long", "--windows"])
    assert given == [("long", Answering(windows=True))]
    assert capsys.readouterr().out.startswith("long, greedy, all windows\n")
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "run", "--windows", "--predictions", "x"])
    assert "answers already: leave out --windows" in capsys.readouterr().err


# --- warnings ---------------------------------------------------------------------------------


def test_an_evaluation_measures_warnings_and_keeps_the_figure_with_the_run(
    adiff_trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every sentence names all classes, and a threshold of 1 warns of all of them."""
    truths = truths_of(open_source(tiny_adiff.explanations("test", tiny_adiff.TEST)))
    everything = ", ".join(name.replace("_", " ") for name in tiny_adiff.CLASSES)
    real = answer.sentences

    def naming(*arguments: Any, **options: Any) -> Any:
        return [replace(row, text=everything) for row in real(*arguments, **options)]

    monkeypatch.setattr(answer, "sentences", naming)
    monkeypatch.setattr("adiff_jax.evaluate.unsupported.THRESHOLD", 1.0)
    other = replace(adiff_trained, directory=run.RunDirectory.at(tmp_path))
    found = answer.answer(other, "pairs", Answering())["unsupported"]
    absent = [
        len({*tiny_adiff.CLASSES} - {*truth.heard[0], *truth.heard[1], *truth.backgrounds})
        for truth in truths
    ]
    count = len(tiny_adiff.CLASSES) * tiny_adiff.TEST
    assert found == {
        "count": count,
        "precision": pytest.approx(sum(absent) / count),
        "recall": 1.0,
        "threshold": 1.0,
    }
    kept = json.loads((tmp_path / "unsupported.json").read_text())
    assert kept["checkpoint"] == adiff_trained.step and set(kept["splits"]) == {"pairs"}
    assert kept["splits"]["pairs"] == pytest.approx(found, abs=1e-5)
