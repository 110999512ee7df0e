"""Two files of answers compared: whose they are, which split they answer, and the table."""

from dataclasses import replace
from pathlib import Path

import pytest

from adiff_jax import cli, comparison
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.comparison import compare_answers
from adiff_jax.data.schema import Truth
from adiff_jax.data.sources import Explanations, open_source
from adiff_jax.evaluate.predictions import Prediction, write_predictions
from adiff_jax.experiment import ConfigError, Experiment, Split
from adiff_jax.experiment_json import to_json
from tests.top import tiny_run

PAIRS = Explanations(tiny_run.pairs("test", 24), tiers=(1,))


def experiment(*tests: Split) -> Experiment:
    base = tiny_run.adc("unused")
    return replace(base, data=replace(base.data, test=tests or (Split("pairs", PAIRS),)))


def truths() -> list[Truth]:
    source = open_source(PAIRS)
    return [source.truth(index) for index in range(len(source))]


def write(path: Path, right: int) -> Path:
    """Answers of which the first `right` are the references and the others say nothing."""
    rows = [
        Prediction(truth.id, truth.references[0] if place < right else "what", (), None)
        for place, truth in enumerate(truths())
    ]
    rows = [replace(row, references=t.references) for row, t in zip(rows, truths(), strict=True)]
    write_predictions(path, rows)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs that have answered; the first also under a control."""
    for name in ("first", "second"):
        RunDirectory.at(tmp_path / name).claim(to_json(experiment()))
    write(tmp_path / "first" / "predictions" / "pairs.jsonl", 24)
    write(tmp_path / "first" / "predictions" / "pairs.zero_prefix.jsonl", 0)
    write(tmp_path / "second" / "predictions" / "pairs.jsonl", 12)
    return tmp_path


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is of a recording of its own, as few as there are."""
    source = open_source(PAIRS)

    class Apart:
        def __len__(self) -> int:
            return len(source)

        def truth(self, index: int) -> Truth:
            return replace(source.truth(index), recordings=(f"recording {index}",))

    monkeypatch.setattr(comparison, "open_data", lambda config: Apart())


def f1(right: int) -> float:
    """Of events when the first `right` are answered, in percent: over pairs with any event."""
    with_events = [any(truth.heard or ()) for truth in truths()]
    return 100 * sum(with_events[:right]) / sum(with_events)


def rows_of(table: str) -> dict[str, list[str]]:
    lines = [line.split("|")[1:-1] for line in table.splitlines() if "|" in line]
    cells = [[cell.strip() for cell in line] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_a_run_is_compared_with_its_answers_under_a_control(runs: Path) -> None:
    predictions = runs / "first" / "predictions"
    table = compare_answers(
        str(predictions / "pairs.jsonl"), str(predictions / "pairs.zero_prefix.jsonl")
    )
    assert table.startswith("split pairs, 24 examples\n")
    first, second, difference, interval = rows_of(table)["events.f1"]
    assert (first, second, difference) == ("100.0", "0.0", "+100.0")
    low, high = (float(end) for end in interval.split(" to "))
    assert 99 < low <= high <= 100  # no pair differs from another
    assert rows_of(table)["attributes.f1"][2] == "+100.0"


def test_answers_that_differ_are_counted_and_how_near_they_were(runs: Path) -> None:
    files = []
    for name, words, logprob in (("a", "what", -7.0), ("b", "which", -7.25)):
        truth, *rest = truths()
        rows = [Prediction(truth.id, words, (1,), logprob)]
        rows += [Prediction(other.id, "the same", (2,), -3.0) for other in rest]
        files.append(runs / "first" / "predictions" / f"pairs.{name}.jsonl")
        write_predictions(files[-1], rows)
    table = compare_answers(*map(str, files))
    assert "with other words: 1 of 24, log-probabilities up to 0.25 apart" in table
    assert "other words: 0 of 24\n" in compare_answers(str(files[0]), str(files[0]))


def test_two_runs_are_compared_by_their_directories(runs: Path) -> None:
    table = rows_of(compare_answers(str(runs / "second"), str(runs / "first")))
    first, second, difference, interval = table["events.f1"]
    assert (first, second, difference) == (f"{f1(12):.1f}", "100.0", f"{f1(12) - 100:.1f}")
    low, high = (float(end) for end in interval.split(" to "))
    assert low < f1(12) - 100 < high < 0
    assert table["score"] == ["first", "second", "difference", "interval"]


def test_what_depends_on_what_is_said_has_values_but_no_interval(runs: Path) -> None:
    table = compare_answers(str(runs / "first"), str(runs / "second"))
    assert rows_of(table)["hallucination.share"][2:] == ["n/a", "n/a"]
    assert "n/a: scores of the whole set, or whose denominator depends on what is said" in table


def test_the_answers_of_another_system_need_no_run(runs: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", 6)
    assert (
        rows_of(compare_answers(str(other), str(runs / "first")))["events.f1"][0] == f"{f1(6):.1f}"
    )


def test_the_split_of_the_longest_name_is_meant(runs: Path) -> None:
    splits = (Split("pairs", PAIRS), Split("pairs.tier1", PAIRS))
    RunDirectory.at(runs / "third").claim(to_json(experiment(*splits)))
    file = write(runs / "third" / "predictions" / "pairs.tier1.beam_4.jsonl", 3)
    assert compare_answers(str(file), str(file)).startswith("split pairs.tier1, ")
    with pytest.raises(ConfigError, match=r"which split .*? --split pairs \| pairs.tier1 \| valid"):
        compare_answers(str(runs / "third"), str(runs / "third"))
    with pytest.raises(ConfigError, match="pairs.jsonl does not exist: `adiff evaluate RUN`"):
        compare_answers(str(runs / "third"), str(file), "pairs")


def test_answers_to_other_examples_of_the_same_names_are_refused(
    runs: Path, tmp_path: Path
) -> None:
    rows = [Prediction(t.id, "what", references=("a", "b")) for t in truths()]
    write_predictions(tmp_path / "other.jsonl", rows)
    with pytest.raises(
        ValueError, match="other.jsonl answers other examples: to test/000000/tier-1"
    ):
        compare_answers(str(runs / "first"), str(tmp_path / "other.jsonl"))
    write_predictions(tmp_path / "other.jsonl", rows[1:])
    with pytest.raises(ValueError):
        compare_answers(str(runs / "first"), str(tmp_path / "other.jsonl"))


def test_files_that_lie_in_no_run_are_not_understood(tmp_path: Path) -> None:
    file = write(tmp_path / "other.jsonl", 6)
    with pytest.raises(ConfigError, match="is, or lies in the predictions of, a run directory"):
        compare_answers(str(file), str(file))


def test_what_is_not_there_is_named(runs: Path) -> None:
    for path in ("absent", "first/predictions/absent.jsonl"):
        with pytest.raises(ConfigError, match=f"{path} does not exist: `adiff evaluate RUN`"):
            compare_answers(str(runs / "first"), str(runs / path))


def test_too_few_recordings_leave_the_values(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "open_data", lambda config: open_source(PAIRS))
    alike = [replace(truth, recordings=("one",)) for truth in truths()]
    monkeypatch.setattr(type(open_source(PAIRS)), "truth", lambda self, index: alike[index])
    table = compare_answers(str(runs / "first"), str(runs / "second"))
    assert rows_of(table)["events.f1"] == ["100.0", f"{f1(12):.1f}", "n/a", "n/a"]
    assert "no differences: too few separate recordings" in table


def test_the_command_line_prints_the_table(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["compare", str(runs / "first"), str(runs / "second"), "--split", "pairs"])
    assert "| events.f1 " in capsys.readouterr().out
