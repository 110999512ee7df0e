"""Answers to a split: every example once, the same bytes twice, scored beside the baselines."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from adiff_jax import answer, known_pairs, run
from adiff_jax.answer import Answering, score_file, sentences, swapped
from adiff_jax.data.labelled import LabelledClips
from adiff_jax.data.schema import Coverage, Example, Source, Truth
from adiff_jax.data.synth.library import Folder
from adiff_jax.evaluate import captions
from adiff_jax.evaluate.captions import MetricError
from adiff_jax.evaluate.predictions import Prediction, read_predictions, write_predictions
from adiff_jax.evaluate.table import markdown_table
from adiff_jax.experiment import ConfigError, Split
from adiff_jax.known_pairs import Chosen, embeddings, truths_of
from adiff_jax.opened import open_data
from adiff_jax.parts import Parts
from adiff_jax.run import Trained
from tests.top import tiny_run


def files(directory: Path) -> dict[str, bytes]:
    named = ("metrics.json", "predictions/pairs.jsonl", "predictions/pairs.metrics.json")
    return {name: (directory / name).read_bytes() for name in named}


def test_the_prediction_file_holds_every_example_once(
    answered: dict[str, Any], adc_run: Path, test_pairs: Source
):
    found = read_predictions(adc_run / "predictions" / "pairs.jsonl")
    truths = truths_of(test_pairs)
    assert len(truths) == tiny_run.TEST
    assert [row.id for row in found] == [truth.id for truth in truths]
    assert [row.references for row in found] == [truth.references for truth in truths]
    assert all(row.tokens and row.logprob < 0 for row in found)


def test_metrics_json_holds_the_nested_scores_that_are_returned(
    answered: dict[str, Any], adc_run: Path
):
    written = json.loads((adc_run / "metrics.json").read_text())
    for name in ("operation", "event"):
        assert 0 <= written["structured"][name]["accuracy"] <= 1
        assert written["structured"][name] == pytest.approx(answered["structured"][name])
    assert 0 <= written["structured"]["swap"]["consistent"] <= 1
    name = "structured.swap.consistent"
    assert name in written["intervals"] or f"intervals.{name}" in written["missing"]
    assert written["split"] == "pairs"
    assert written["checkpoint"] == 4
    assert written["decode"] == "greedy"
    assert written["count"] == tiny_run.TEST
    assert written["retrieval_examples"] == tiny_run.TRAIN


def test_both_baselines_are_scored_on_the_same_pairs(answered: dict[str, Any]):
    assert answered["baselines"].keys() == {"most frequent", "nearest"}
    for scores in answered["baselines"].values():
        assert scores["count"] == tiny_run.TEST
        assert 0 <= scores["structured"]["operation"]["accuracy"] <= 1
    assert answered["retrieval_examples"] == tiny_run.TRAIN
    frequent = answered["baselines"]["most frequent"]["structured"]
    assert frequent["sentences"]["distinct"] == 1
    # Training captions are of the grammar that is read back; an untrained model's are not.
    assert frequent["unreadable"]["share"] == 0


class Sorted:
    """Training pairs whose captions are sorted: an "a" of its own first, then two that recur."""

    def __init__(self, source: Source) -> None:
        self.source, self.texts = source, source.texts

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        return self.source[index]

    def truth(self, index: int) -> Truth:
        captions = (f"a {index}", "make it louder", "z")
        return replace(self.source.truth(index), references=captions)


class Asked(Sorted):
    """Its examples are asked two things in turn."""

    def truth(self, index: int) -> Truth:
        return replace(self.source.truth(index), prompt=f"tier {index % 2 + 1}?")


def test_baselines_read_every_caption_of_a_training_pair(
    trained: Trained, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(known_pairs, "open_data", lambda config: Sorted(test_pairs))
    parts, variables = trained.parts, trained.variables
    known = known_pairs.known_pairs(parts, truths_of(test_pairs))
    found = known_pairs.answer_like(parts, variables, test_pairs, known)
    assert {row.text for row in found["most frequent"]} == {"make it louder"}
    # every pair is its own nearest one; the caption that is said differs from pair to pair
    said = [row.text for row in found["nearest"]]
    assert len({text[0] for text in said}) == 3


def test_baselines_know_so_many_training_pairs_and_no_more(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(known_pairs, "RETRIEVAL_EXAMPLES", 5)
    truths = truths_of(open_data(trained.parts.experiment.data.train))
    assert len(known_pairs.known_pairs(trained.parts, truths)) == 5


def test_baselines_know_pairs_that_are_asked_the_same(
    trained: Trained, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(known_pairs, "open_data", lambda config: Asked(test_pairs))
    truths = [replace(truth, prompt="tier 2?") for truth in truths_of(test_pairs)]
    known = known_pairs.known_pairs(trained.parts, truths)
    assert known is not None and known.indices == tuple(range(1, len(test_pairs), 2))
    assert known.truth(1) == Asked(test_pairs).truth(3)
    other = [replace(truth, prompt="tier 3?") for truth in truths]
    assert known_pairs.known_pairs(trained.parts, other) is None


def test_answering_twice_writes_the_same_bytes(
    answered: dict[str, Any], trained: Trained, adc_run: Path
):
    before = files(adc_run)
    answer.answer(trained, "pairs", Answering())
    assert files(adc_run) == before


def test_another_strategy_does_not_overwrite_the_answers(
    answered: dict[str, Any], trained: Trained, adc_run: Path, tmp_path: Path
):
    before = (adc_run / "predictions" / "pairs.jsonl").read_bytes()
    other = replace(trained, directory=run.RunDirectory.at(tmp_path))
    answer.answer(other, "pairs", Answering())
    answer.answer(other, "pairs", Answering("beam:2"))
    written = {file.name for file in (tmp_path / "predictions").iterdir()}
    strategies = ("pairs", "pairs.beam_2")
    assert written == {f"{name}{end}" for name in strategies for end in (".jsonl", ".metrics.json")}
    assert (tmp_path / "predictions" / "pairs.jsonl").read_bytes() == before


def test_swapping_exchanges_what_belongs_to_a_clip_and_nothing_else():
    arrays = {
        name: np.array([place])
        for place, name in enumerate(
            ("audio_1", "audio_2", "length_1", "length_2", "features_1", "features_2", "tokens")
        )
    }
    found = swapped(arrays)
    assert {name: int(value[0]) for name, value in found.items()} == {
        "audio_1": 1,
        "audio_2": 0,
        "length_1": 3,
        "length_2": 2,
        "features_1": 5,
        "features_2": 4,
        "tokens": 6,
    }


class Reversed:
    """A source with the clips of every pair in the other order."""

    def __init__(self, source: Source) -> None:
        self.source, self.truth, self.texts = source, source.truth, source.texts

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        return replace(example, waves=example.waves[::-1])


def test_swapped_sentences_are_those_of_the_exchanged_clips(
    answered: dict[str, Any], trained: Trained, test_pairs: Source
):
    backward = sentences(trained, test_pairs, "greedy", swap=True)
    assert backward == sentences(trained, Reversed(test_pairs), "greedy")
    assert backward != sentences(trained, test_pairs, "greedy")


def test_references_may_be_longer_than_what_the_model_can_say(trained: Trained, test_pairs: Source):
    experiment = trained.parts.experiment
    encode = replace(experiment.data.encode, max_tokens=2)
    experiment = replace(experiment, data=replace(experiment.data, encode=encode))
    short = replace(trained, parts=replace(trained.parts, experiment=experiment))
    found = sentences(short, test_pairs, "greedy")
    assert len(found) == tiny_run.TEST
    assert {len(row.tokens) for row in found} == {2}


def test_an_embedding_belongs_to_its_pair_whatever_else_is_embedded(
    answered: dict[str, Any], trained: Trained, test_pairs: Source
):
    whole = embeddings(trained.parts, trained.variables, test_pairs)
    some = embeddings(trained.parts, trained.variables, Chosen(test_pairs, (0, 1, 2)))
    assert whole.shape == (tiny_run.TEST, tiny_run.WIDTH)
    np.testing.assert_allclose(some, whole[:3], rtol=1e-5, atol=1e-6)
    assert len(np.unique(whole.round(4), axis=0)) == tiny_run.TEST


# --- the answers of another system ------------------------------------------------------------


def references(source: Source) -> list[Prediction]:
    return [Prediction(truth.id, truth.references[0]) for truth in truths_of(source)]


def test_the_references_themselves_score_full_marks_and_nothing_is_written(
    trained: Trained, test_pairs: Source, tmp_path: Path, adc_run: Path, answered: dict[str, Any]
):
    write_predictions(tmp_path / "other.jsonl", references(test_pairs))
    before = files(adc_run)
    found = score_file(trained, "pairs", tmp_path / "other.jsonl", Answering())
    assert found["structured"]["operation"]["accuracy"] == 1
    assert found["structured"]["event"]["accuracy"] == 1
    assert found["structured"]["program"]["exact"] == 1
    assert found["split"] == "pairs"
    assert files(adc_run) == before


def test_answers_that_leave_an_example_out_are_refused_and_it_is_named(
    trained: Trained, test_pairs: Source, tmp_path: Path
):
    write_predictions(tmp_path / "other.jsonl", references(test_pairs)[1:])
    with pytest.raises(ValueError, match="11 predictions .* 12 .*missing: test/000000"):
        score_file(trained, "pairs", tmp_path / "other.jsonl", Answering())


def test_two_answers_to_one_example_are_refused_and_it_is_named(
    trained: Trained, test_pairs: Source, tmp_path: Path
):
    rows = [{"id": row.id, "text": row.text} for row in references(test_pairs)]
    lines = [json.dumps(row) for row in [*rows, rows[0]]]
    (tmp_path / "other.jsonl").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"other.jsonl, line 13: .*'test/000000' of line 1"):
        score_file(trained, "pairs", tmp_path / "other.jsonl", Answering())


def test_an_answer_to_no_example_is_refused_and_it_is_named(
    trained: Trained, test_pairs: Source, tmp_path: Path
):
    rows = [*references(test_pairs), Prediction("elsewhere/7", "add a bell")]
    write_predictions(tmp_path / "other.jsonl", rows)
    with pytest.raises(ValueError, match="not in the data set: elsewhere/7"):
        score_file(trained, "pairs", tmp_path / "other.jsonl", Answering())


def test_a_required_metric_that_cannot_run_is_an_error_of_use(
    trained: Trained, test_pairs: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(captions, "spice_missing", lambda: "no jars")
    write_predictions(tmp_path / "other.jsonl", references(test_pairs))
    with pytest.raises(MetricError, match="spice is required but cannot run: no jars"):
        score_file(trained, "pairs", tmp_path / "other.jsonl", Answering(require=("spice",)))


def test_a_required_metric_that_cannot_run_is_said_before_anything_is_decoded(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(captions, "spice_missing", lambda: "no jars")
    monkeypatch.setattr(answer, "sentences", None)
    with pytest.raises(MetricError, match="spice is required but cannot run: no jars"):
        answer.answer(trained, "pairs", Answering(require=("spice",)))


def test_without_the_training_recordings_the_baselines_are_missing_with_the_reason(
    trained: Trained, tmp_path: Path, test_pairs: Source, monkeypatch: pytest.MonkeyPatch
):
    experiment = trained.parts.experiment
    gone = replace(tiny_run.pairs("train", 24), recordings=Folder("gone"))
    moved = replace(experiment, data=replace(experiment.data, train=gone))
    elsewhere = replace(
        trained,
        directory=run.RunDirectory.at(tmp_path),
        parts=replace(trained.parts, experiment=moved),
    )
    monkeypatch.setattr(answer, "sentences", lambda *_, **__: references(test_pairs))
    monkeypatch.setattr(answer, "attention_on_edits", lambda *_: None)
    found = answer.answer(elsewhere, "pairs", Answering())
    assert "baselines" not in found and "retrieval_examples" not in found
    assert found["missing"]["baselines"].startswith(
        "the training data cannot be opened: no folder of recordings at gone"
    )
    assert found["structured"]["operation"]["accuracy"] == 1
    assert json.loads((tmp_path / "metrics.json").read_text())["missing"] == found["missing"]


# --- mistakes and taggers ---------------------------------------------------------------------


def test_a_split_that_does_not_exist_is_answered_with_those_that_do(trained: Trained):
    with pytest.raises(ConfigError, match="'fold9' is not one of validation, pairs"):
        answer.answer(trained, "fold9", Answering())


def test_a_strategy_that_does_not_exist_is_named(trained: Trained):
    with pytest.raises(ValueError, match="decoding strategy 'bean:4': 'bean' is not known"):
        answer.answer(trained, "pairs", Answering(decode="bean:4"))


def test_a_tagger_is_not_asked_for_sentences(tagger_run: Path, tmp_path: Path):
    tagger = run.load_trained(tagger_run)
    for config, option in ((Answering("beam:4"), "--decode"), (Answering("", ("bleu",)), "--requ")):
        with pytest.raises(ConfigError, match=f"tagger is a tagger, .*: leave out {option}"):
            answer.answer(tagger, "clips", config)
    with pytest.raises(ConfigError, match="is a tagger: sentences do not answer it"):
        score_file(tagger, "clips", tmp_path / "other.jsonl", Answering())


def test_a_tagger_is_scored_on_every_clip_by_class(tagger_run: Path, tmp_path: Path):
    tagger = replace(run.load_trained(tagger_run), directory=run.RunDirectory.at(tmp_path))
    found = answer.answer(tagger, "clips", Answering())
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["tagging"]["mAP"] == pytest.approx(found["tagging"]["mAP"], abs=1e-6)
    classes = {*written["tagging"]["classes"], *written["tagging"]["missing"]}
    assert classes == set(tagger.parts.classes)
    assert len(classes) == tiny_run.CLASSES
    assert 0 < written["tagging"]["mAP"] <= 1


def test_scores_say_how_much_of_a_published_table_they_cover(tagger_run: Path, tmp_path: Path):
    tagger = replace(run.load_trained(tagger_run), directory=run.RunDirectory.at(tmp_path))
    (tmp_path / "audio").mkdir()
    rows = [f"{number}.wav,{tagger.parts.classes[number % 8]}" for number in range(20)]
    (tmp_path / "clips.csv").write_text("\n".join(["file,labels", *rows]))
    (tmp_path / "without.txt").write_text("3.wav\n17.wav\n")
    for number in set(range(20)) - {3, 17}:
        wave = np.random.default_rng(number).uniform(-0.5, 0.5, 8_000)
        sf.write(tmp_path / "audio" / f"{number}.wav", wave, 16_000)
    paths = (str(tmp_path / name) for name in ("clips.csv", "audio", "without.txt"))
    table, audio, without = paths
    source = LabelledClips(table, audio, exclude=without, rate=16_000)
    data = replace(tagger.parts.experiment.data, test=(Split("mine", source),))
    experiment = replace(tagger.parts.experiment, data=data)
    tagger = replace(tagger, parts=replace(tagger.parts, experiment=experiment))
    answer.answer(tagger, "mine", Answering())
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["coverage"] == {
        "rows": 18,
        "rows_listed": 20,
        "clips": 18,
        "clips_listed": 20,
    }


def test_scores_of_given_answers_say_it_too(
    trained: Trained, test_pairs: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    truths = truths_of(test_pairs)
    write_predictions(
        tmp_path / "p.jsonl", [Prediction(truth.id, truth.references[0]) for truth in truths]
    )
    part = Chosen(test_pairs, tuple(range(len(truths))))
    object.__setattr__(part, "coverage", Coverage(12, 13, 20, 24))
    monkeypatch.setattr(answer, "open_data", lambda config: part)
    metrics = score_file(trained, "pairs", tmp_path / "p.jsonl", Answering())
    assert metrics["coverage"]["rows_listed"] == 13
    said = "Coverage: 20 of 24 clips, 12 of 13 rows (92.3%) (mine)."
    assert said in markdown_table({"mine": metrics})
    monkeypatch.setattr(answer, "open_data", lambda config: test_pairs)
    metrics = score_file(trained, "pairs", tmp_path / "p.jsonl", Answering())
    assert "coverage" not in metrics and "Coverage" not in markdown_table({"mine": metrics})


def explained(trained: Trained, directory: Path) -> Trained:
    """The run with the split "explained", of tier 1, writing elsewhere."""
    experiment = trained.parts.experiment
    split = Split("explained", replace(tiny_run.pairs("test", tiny_run.TEST), tier=1))
    experiment = replace(experiment, data=replace(experiment.data, test=(split,)))
    parts = replace(trained.parts, experiment=experiment)
    return replace(trained, parts=parts, directory=run.RunDirectory.at(directory))


def test_explanations_are_scored_and_a_model_that_hears_pairs_says_why_not_by_similarity(
    trained: Trained, tmp_path: Path
):
    metrics = answer.answer(explained(trained, tmp_path), "explained", Answering())
    # Its answers are imperatives, in which no explanation of a change can be read.
    assert metrics["explanations"]["count"] == tiny_run.TEST
    assert metrics["explanations"]["unreadable"]["change"] == 1
    assert metrics["structured"]["unreadable"]["share"] == 1
    assert metrics["structured"]["swap"]["consistent"] == 0
    assert "similarity" not in metrics
    assert "hears both clips" in metrics["missing"]["similarity"]


def test_scores_are_told_by_the_similarity_of_the_clips_where_it_is_known(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def alike(parts: Parts, variables: Any, source: Source, truths: list[Truth]) -> Any:
        return {truth.id: place / 10 for place, truth in enumerate(truths)}, ""

    monkeypatch.setattr(answer, "pair_similarity", alike)
    metrics = answer.answer(explained(trained, tmp_path), "explained", Answering())
    quartiles = metrics["similarity"]
    assert [quartiles[name]["count"] for name in "1234"] == [3] * 4
    assert (quartiles["1"]["lowest"], quartiles["4"]["highest"]) == (0.0, 1.1)
    assert any("explanations" in quartiles[name] for name in "1234")
    assert "similarity" not in metrics["missing"]
    assert json.loads((tmp_path / "metrics.json").read_text())["similarity"].keys() == set("1234")
