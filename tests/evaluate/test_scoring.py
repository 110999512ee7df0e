"""metrics.json: nested scores with intervals, and word of what is missing instead of zeros."""

import dataclasses
import json

import numpy as np
import pytest

from adiff_jax.data.schema import Edit, Truth
from adiff_jax.data.synth.captions import read_edits
from adiff_jax.data.synth.tier_reader import named_sounds, read_explanation
from adiff_jax.evaluate import baselines, captions
from adiff_jax.evaluate.captions import CaptionConfig, MetricError
from adiff_jax.evaluate.difference import compare
from adiff_jax.evaluate.explanations import Readers
from adiff_jax.evaluate.predictions import Prediction
from adiff_jax.evaluate.scoring import ScoreConfig, measure, score, write_metrics
from adiff_jax.evaluate.table import markdown_table

PLAIN = CaptionConfig(metrics=("bleu", "rouge_l", "cider_d"), tokenization="plain")
READERS = Readers(read_edits, read_explanation, named_sounds)
CONFIG = ScoreConfig(PLAIN, resamples=200)
SAID = {"add": "add a dog bark", "remove": "remove the dog bark"}


def truths(size=40):
    return [
        Truth(
            id=f"{place:02d}",
            references=(SAID["add"] if place % 2 else SAID["remove"],),
            edits=(Edit("add" if place % 2 else "remove", "dog_bark"),),
            recordings=(f"a{place % 10}", f"b{place % 7}"),
        )
        for place in range(size)
    ]


def right(size=40, wrong=()):
    """Right answers, but "add" for the examples of `wrong`, all of which are removals."""
    return [
        Prediction(truth.id, SAID["add"] if place in wrong else truth.references[0])
        for place, truth in enumerate(truths(size))
    ]


def test_scores_are_nested_and_have_intervals_around_them():
    result = score(right(wrong=(0, 2, 4, 6)), truths(), CONFIG, readers=READERS)
    assert result["count"] == 40 and result["tokenization"] == "plain"
    structured = result["structured"]
    assert structured["operation"]["accuracy"] == pytest.approx(0.9)
    assert structured["event"] == {"accuracy": 1.0, "count": 40}
    assert structured["attribution"]["wrong_clip"] == pytest.approx(0.1)
    assert structured["sentences"]["distinct"] == 2
    low, high = result["intervals"]["structured.operation.accuracy"]
    assert 0.7 < low < 0.9 < high <= 1.0
    low, high = result["intervals"]["captions.cider_d"]
    assert low < result["captions"]["cider_d"] < high


def test_order_of_predictions_and_truths_does_not_matter():
    expected = score(right(wrong=(0, 8)), truths(), CONFIG, readers=READERS)
    rows, examples = right(wrong=(0, 8))[::-1], truths()[5:] + truths()[:5]
    shuffled = score(rows, examples, CONFIG, readers=READERS)
    assert shuffled == expected


def test_references_of_a_prediction_file_are_not_trusted():
    flattering = [dataclasses.replace(row, text="x", references=("x",)) for row in right()]
    result = score(flattering, truths(), CONFIG, readers=READERS)
    assert result["captions"]["rouge_l"] == 0.0


def test_answers_for_other_examples_are_refused():
    with pytest.raises(ValueError, match="missing: 39"):
        score(right()[:-1], truths(), CONFIG)


def test_baselines_are_scored_by_the_same_code():
    frequent = baselines.most_frequent([SAID["add"]], truths())
    result = score(right(), truths(), CONFIG, readers=READERS, baselines={"frequent": frequent})
    alone = score(frequent, truths(), CONFIG, readers=READERS)
    assert result["baselines"] == {"frequent": alone}
    assert alone["structured"]["operation"]["accuracy"] == 0.5


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setattr(captions, "java_missing", lambda: "no java here")
    monkeypatch.setattr(captions, "spice_missing", lambda: "no java here")


def test_without_java_metrics_are_absent_named_and_never_zero(no_java):
    result = score(right(), truths(), ScoreConfig(resamples=50))
    assert result["tokenization"] == "plain"
    assert set(result["captions"]) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"}
    for name in ("meteor", "spice"):
        assert result["missing"][f"captions.{name}"] == "no java here"
    assert result["missing"]["captions.spider"] == "needs SPICE"
    assert result["missing"]["structured"] == "no reader of edits"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"require": ("spice",)}, "spice is required but cannot run: no java here"),
        ({"metrics": ("bleu",), "require": ("meteor",)}, "not among the metrics"),
        ({"tokenization": "ptb"}, "PTB tokenisation cannot run: no java here"),
    ],
)
def test_what_is_required_fails_rather_than_being_left_out(no_java, settings, words):
    config = ScoreConfig(CaptionConfig(**settings))
    with pytest.raises(MetricError, match=words):
        score(right(), truths(), config)


@pytest.fixture(params=["meteor", "spice"])
def failing(request, monkeypatch):
    """The name of a metric that can run, by all that is known before, and fails."""

    def fail(texts, references):
        raise RuntimeError("Java ended early")

    monkeypatch.setattr(captions, "java_missing", lambda: None)
    monkeypatch.setattr(captions, "spice_missing", lambda: None)
    monkeypatch.setattr(captions, "meteor", lambda texts, references: 0.5)
    monkeypatch.setattr(captions, "spice", lambda texts, references: np.full(len(texts), 0.25))
    monkeypatch.setattr(captions, request.param, fail)
    return request.param


def test_a_metric_that_fails_while_it_runs_is_missing_and_the_others_are_there(failing):
    metrics = dataclasses.replace(PLAIN, metrics=("bleu", "cider_d", "meteor", "spice"))
    result = score(right(), truths(), ScoreConfig(metrics, resamples=50))
    assert result["missing"][f"captions.{failing}"] == "it failed: Java ended early"
    assert failing not in result["captions"]
    assert {"bleu_4", "cider_d", "meteor", "spice"} - {failing} <= result["captions"].keys()
    assert ("spider" in result["captions"]) == (failing == "meteor")
    assert ("captions.spider" in result["missing"]) == (failing == "spice")


def test_a_required_metric_that_fails_while_it_runs_is_an_error(failing):
    config = dataclasses.replace(PLAIN, metrics=("meteor", "spice"), require=(failing,))
    with pytest.raises(MetricError, match=f"{failing} is required but failed: Java ended early"):
        score(right(), truths(), ScoreConfig(config))


def test_spider_is_the_mean_of_spice_and_cider(monkeypatch):
    monkeypatch.setattr(captions, "spice_missing", lambda: None)
    monkeypatch.setattr(captions, "spice", lambda texts, references: np.full(len(texts), 0.25))
    config = ScoreConfig(dataclasses.replace(PLAIN, metrics=("cider_d", "spice")), resamples=50)
    result = score(right(), truths(), config)
    cider = result["captions"]["cider_d"]
    assert cider > 1
    assert result["captions"]["spider"] == pytest.approx((0.25 + cider) / 2)
    assert not any(name.startswith("captions") for name in result["missing"])


def test_examples_without_references_or_edits_are_said_to_be_missing():
    bare = [dataclasses.replace(truth, references=()) for truth in truths()]
    half = [
        dataclasses.replace(truth, edits=None if place < 10 else truth.edits)
        for place, truth in enumerate(bare)
    ]
    result = score(right(wrong=(0, 2)), half, CONFIG, readers=READERS)
    assert "captions" not in result
    assert "40 examples have no reference" in result["missing"]["captions"]
    assert result["structured"]["count"] == 30
    # The two wrong answers are among those whose truth is unknown.
    assert result["structured"]["operation"]["accuracy"] == 1.0
    assert "10 are unknown" in result["missing"]["structured.count"]
    assert "structured.none.false_alarm" in result["missing"]
    assert "false_alarm" not in result["structured"]["none"]


def test_too_few_recordings_leave_scores_without_intervals():
    same = [dataclasses.replace(truth, recordings=("one",)) for truth in truths()]
    result = score(right(), same, CONFIG)
    assert result["intervals"] == {}
    assert result["captions"]["rouge_l"] == 1.0
    assert "intervals.captions.rouge_l" in result["missing"]


def test_metrics_file_is_sorted_rounded_and_holds_no_nan(tmp_path):
    write_metrics(tmp_path / "m.json", {"b": {"z": 1 / 3, "a": -1e-12}, "a": [2, 0.1 + 0.2]})
    text = (tmp_path / "m.json").read_text()
    assert json.loads(text) == {"a": [2, 0.3], "b": {"a": 0.0, "z": 0.333333}}
    assert text.index('"a"') < text.index('"b"') and "-0.0" not in text
    with pytest.raises(ValueError, match="b.z is nan"):
        write_metrics(tmp_path / "m.json", {"b": {"z": float("nan")}})


def test_paired_differences_of_two_systems_find_which_is_better():
    better = [measure(right(wrong=(0,)), truths(), CONFIG, readers=READERS)]
    worse = [
        measure(right(wrong=wrong), truths(), CONFIG, readers=READERS)
        for wrong in (range(0, 40, 2), range(0, 38, 2), range(0, 40, 2))
    ]
    found = compare(better, worse, truths(), CONFIG)
    operation = found["structured.operation.accuracy"]
    assert operation.mean == pytest.approx(39 / 40 - (20 + 21 + 20) / 120)
    assert operation.low > 0
    assert found["structured.attribution.wrong_clip"].mean < 0
    assert found["captions.rouge_l"].low > 0
    same = compare(better, better, truths(), CONFIG)["structured.operation.accuracy"]
    assert same == (0.0, 0.0, 0.0)


def test_no_difference_of_shares_exceeds_all_against_none():
    runs = [
        [measure(right(wrong=wrong), truths(), CONFIG, readers=READERS) for wrong in seeds]
        for seeds in (((), ()), (range(0, 40, 2), ()))
    ]
    found = compare(runs[0], runs[1], truths(), CONFIG)["structured.attribution.wrong_clip"]
    assert -1 == found.low < found.mean < 0
    found = compare(runs[1], runs[0], truths(), CONFIG)["structured.attribution.wrong_clip"]
    assert 0 < found.mean < found.high == 1


def test_runs_on_another_number_of_pairs_are_not_compared():
    whole = [measure(right(), truths(), CONFIG, readers=READERS)]
    part = [measure(right(30), truths(30), CONFIG, readers=READERS)]
    with pytest.raises(ValueError, match="scored on 30 pairs, but the data set holds 40"):
        compare(whole, part, truths(), CONFIG)


def test_nothing_is_tokenised_for_no_metric(monkeypatch):
    monkeypatch.setattr(captions, "tokenize", None)
    found = captions.caption_scores(["a"], [["a"]], CaptionConfig(metrics=()))
    assert (found.corpus, found.examples, found.missing) == ({}, {}, {})


def test_a_table_shows_what_only_models_have_where_they_have_it():
    frequent = baselines.most_frequent([SAID["add"]], truths())
    found = score(right(), truths(), CONFIG, readers=READERS, baselines={"frequent": frequent})
    assert "swap.consistent" not in markdown_table({"ours": found})
    found["structured"]["swap"] = {"consistent": 0.75}
    found["attention"] = {"edited_span": 1.25}
    lines = markdown_table({"ours": found}, ["structured.operation.accuracy"]).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert ["swap.consistent", "75.0", "n/a"] in rows
    assert ["attention.edited_span", "1.250", "n/a"] in rows
    assert "- attention.edited_span: needs the model (ours: frequent)" in lines


def test_a_table_shows_that_a_system_without_false_alarms_says_nothing_readable():
    same = [dataclasses.replace(truth, edits=(Edit("none"),)) for truth in truths()]
    mute = [Prediction(truth.id, "what") for truth in same]
    found = score(mute, same, CONFIG, readers=READERS)
    lines = markdown_table({"mute": found}).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert ["none.false_alarm", "0.0"] in rows
    assert ["unreadable.share", "100.0"] in rows


def test_a_table_says_why_intervals_and_baselines_are_missing():
    same = [dataclasses.replace(truth, recordings=("one",)) for truth in truths()]
    found = score(right(), same, CONFIG, readers=READERS)
    found["missing"]["baselines"] = "no recordings"
    shown = ["structured.operation.accuracy", "captions.rouge_l"]
    lines = markdown_table({"ours": found}, shown).splitlines()
    assert "- baselines: no recordings (ours)" in lines
    (why,) = [line for line in lines if line.startswith("- intervals of ")]
    assert why.startswith(f"- intervals of {', '.join(shown)}: too few separate recordings")


def test_a_table_says_what_is_missing_and_why(no_java):
    frequent = baselines.most_frequent([SAID["add"]], truths())
    full = score(
        right(),
        truths(),
        ScoreConfig(resamples=50),
        readers=READERS,
        baselines={"most frequent": frequent},
    )
    table = markdown_table(
        {"ours": full},
        ["structured.operation.accuracy", "captions.cider_d", "captions.spice", "captions.nothing"],
    )
    lines = table.split("\n")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    assert cells[0] == ["score", "ours", "ours: most frequent"]
    assert cells[2][0] == "operation.accuracy"
    assert cells[2][1] == "100.0"
    assert cells[2][2].startswith("50.0 [")
    assert cells[4] == ["spice", "n/a", "n/a"]
    assert cells[5] == ["nothing", "n/a", "n/a"]
    assert len({len(line) for line in lines[:6]}) == 1
    assert "- captions.spice: no java here (ours, ours: most frequent)" in lines
    assert "- captions.nothing: not computed (ours, ours: most frequent)" in lines
    assert "Caption metrics on tokens of: plain." in lines
