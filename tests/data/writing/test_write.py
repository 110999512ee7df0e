"""All texts of all pairs: asked until their form is right, kept at once, never asked twice."""

import csv
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from adiff_jax.data.writing.answers import (
    Answer,
    Answers,
    Failed,
    Refused,
    Unanswered,
    WritingError,
)
from adiff_jax.data.writing.pairs import Pair
from adiff_jax.data.writing.prompts import TIERS, read_prompts
from adiff_jax.data.writing.write import COLUMNS, Asking, Summary, write_explanations
from tests.data.writing.chat_server import GOOD

PROMPTS = read_prompts()
ABOUT = {"model": "toy", "seed": 0}


class Scripted:
    """A writer that answers as told, and remembers what it was asked."""

    def __init__(self, say: Callable[[Pair, int, Failed | None], str]) -> None:
        self._say = say
        self.asked: list[tuple[str, int]] = []
        self.failed: list[Failed] = []
        self.stopped = threading.Event()

    def write(self, pair: Pair, tier: int, failed: Failed | None) -> Answer:
        self.asked.append((pair.id, tier))
        if failed:
            self.failed.append(failed)
        return Answer(self._say(pair, tier, failed), [{"role": "user", "content": "?"}], {"all": 3})

    def stop(self) -> None:
        self.stopped.set()


def well(pair: Pair, tier: int, failed: Failed | None) -> str:
    return GOOD[tier]


def pairs(count: int) -> tuple[Pair, ...]:
    files = [f"{n}, loud.wav" for n in range(count + 1)]
    return tuple(
        Pair(f"{n:06d}", (files[n], files[n + 1]), (f'Caption "{n}"', "Rain")) for n in range(count)
    )


def run(
    out: Path, writer: Scripted, count: int = 3, about: Mapping[str, Any] = ABOUT, **asking
) -> Summary:
    with Answers(str(out), about) as answers:
        return write_explanations(
            pairs(count), writer, answers, out, "mine", PROMPTS, Asking(**asking)
        )


def lines(out: Path, name: str = "answers.jsonl") -> list[dict]:
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("parallel", [1, 4])
def test_the_tables_hold_the_same_pairs_in_order_with_the_published_columns(
    tmp_path: Path, parallel: int
):
    summary = run(tmp_path, Scripted(well), parallel=parallel)
    assert [path.name for path in summary.tables] == [
        "mine_adiff_fewwords_answer.csv",
        "mine_adiff_sentence_answer.csv",
        "mine_adiff_detail_answer.csv",
    ]
    assert summary.tables[0].read_text().startswith(",".join(COLUMNS) + "\n")
    prompts = ("in few words", "in a sentence", "in detail")
    for tier, path, prompt in zip(TIERS, summary.tables, prompts, strict=True):
        rows = table(path)
        assert [row["filepath1"] for row in rows] == [f"{n}, loud.wav" for n in range(3)]
        assert [row["caption1"] for row in rows] == [f'Caption "{n}"' for n in range(3)]
        assert {row["answer"] for row in rows} == {GOOD[tier]}
        assert {row["input"] for row in rows} == {f"explain the difference {prompt}"}
        assert {row["taskname"] for row in rows} == {"mine"}
    assert (summary.pairs, summary.complete, summary.refused) == (3, 3, 0)
    assert "3 of 3 pairs" in str(summary)


def test_an_answer_of_wrong_form_is_asked_again_and_both_are_kept(tmp_path: Path):
    def first_wrong(pair: Pair, tier: int, failed: Failed | None) -> str:
        return GOOD[tier] if failed else f"Sure, here it is: {GOOD[tier]}"

    writer = Scripted(first_wrong)
    assert run(tmp_path, writer, count=1).complete == 1
    assert [failed.reason for failed in writer.failed] == [
        "talks about the answer before giving it"
    ] * 3
    kept = lines(tmp_path)
    assert [line["tier"] for line in kept] == [1, 1, 2, 2, 3, 3]
    assert [bool(line["problem"]) for line in kept] == [True, False] * 3
    assert kept[0]["messages"] == [{"role": "user", "content": "?"}]
    assert kept[0]["usage"] == {"all": 3}
    assert (kept[0]["files"], kept[0]["pair"]) == (["0, loud.wav", "1, loud.wav"], "000000")
    assert not (tmp_path / "refused.jsonl").exists()


def test_what_cannot_be_had_is_listed_and_its_pair_left_out_of_every_table(tmp_path: Path):
    def never(pair: Pair, tier: int, failed: Failed | None) -> str:
        if (pair.id, tier) == ("000000", 3):
            raise Refused("was refused: content policy")
        return "" if (pair.id, tier) == ("000001", 2) else GOOD[tier]

    writer = Scripted(never)
    summary = run(tmp_path, writer, attempts=3)
    assert writer.asked.count(("000001", 2)) == 3
    assert writer.asked.count(("000000", 3)) == 1
    assert (summary.complete, summary.refused) == (1, 2)
    assert "2 pairs are missing" in str(summary)
    reasons = {
        (line["pair"], line["tier"]): line["reason"] for line in lines(tmp_path, "refused.jsonl")
    }
    assert reasons == {
        ("000000", 3): "was refused: content policy",
        ("000001", 2): "is empty",
    }
    for path in summary.tables:
        assert [row["filepath1"] for row in table(path)] == ["2, loud.wav"]
    again = Scripted(well)
    summary = run(tmp_path, again)
    assert sorted(again.asked) == [("000000", 3), ("000001", 2)]
    assert (summary.complete, summary.refused) == (3, 0)
    assert not (tmp_path / "refused.jsonl").exists()


def test_a_finished_folder_asks_nothing_and_gives_the_same_tables(tmp_path: Path):
    tables = [path.read_bytes() for path in run(tmp_path, Scripted(well)).tables]
    kept = (tmp_path / "answers.jsonl").read_bytes()
    writer = Scripted(lambda *_: "something else")
    assert [path.read_bytes() for path in run(tmp_path, writer).tables] == tables
    assert writer.asked == []
    assert (tmp_path / "answers.jsonl").read_bytes() == kept


def test_more_pairs_go_on_from_fewer(tmp_path: Path):
    run(tmp_path, Scripted(well), count=2)
    writer = Scripted(well)
    assert run(tmp_path, writer, count=3).complete == 3
    assert writer.asked == [("000002", tier) for tier in TIERS]


@pytest.mark.parametrize("error", [WritingError("the quota is used up"), KeyboardInterrupt()])
def test_an_end_in_the_middle_keeps_what_was_answered(tmp_path: Path, error: BaseException):
    def breaks(pair: Pair, tier: int, failed: Failed | None) -> str:
        if (pair.id, tier) == ("000001", 2):
            raise error
        return GOOD[tier]

    writer = Scripted(breaks)
    with pytest.raises(type(error)):
        run(tmp_path, writer)
    assert writer.stopped.is_set()
    assert not list(tmp_path.glob("*.csv"))
    kept = {(line["pair"], line["tier"]) for line in lines(tmp_path)}
    assert {("000000", tier) for tier in TIERS} | {("000001", 1)} <= kept
    again = Scripted(well)
    assert run(tmp_path, again).complete == 3
    assert kept.isdisjoint(again.asked)
    assert len(kept) + len(again.asked) == 9


def test_a_line_cut_by_a_kill_is_asked_again_and_the_rest_is_not(tmp_path: Path):
    run(tmp_path, Scripted(well))
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    writer = Scripted(well)
    assert run(tmp_path, writer).complete == 3
    assert writer.asked == [("000002", 3)]
    assert len(lines(tmp_path)) == 9


def test_a_line_that_is_no_answer_is_named(tmp_path: Path):
    run(tmp_path, Scripted(well))
    path = tmp_path / "answers.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(ValueError, match="answers.jsonl line 1 is no answer"):
        run(tmp_path, Scripted(well))


def test_a_model_that_is_never_good_is_not_asked_forever(tmp_path: Path):
    writer = Scripted(lambda *_: "")
    with pytest.raises(WritingError, match="4 texts in a row .*because it is empty; mend that"):
        run(tmp_path, writer, count=50, attempts=2, patience=4)
    assert len(writer.asked) == 8


def test_a_server_that_falls_silent_is_not_asked_forever(tmp_path: Path):
    def silent(pair: Pair, tier: int, failed: Failed | None) -> str:
        if pair.id >= "000002":
            raise Unanswered("was not answered")
        return GOOD[tier]

    writer = Scripted(silent)
    with pytest.raises(WritingError, match="4 texts in a row .*because it was not answered; mend"):
        run(tmp_path, writer, count=50, patience=4)
    assert len(writer.asked) == 10
    again = Scripted(well)
    assert run(tmp_path, again, count=50).complete == 50
    assert len(again.asked) == 144


def test_texts_that_a_model_always_refuses_do_not_end_the_work(tmp_path: Path):
    """Nor when it is taken up again, and they come one after the other."""

    def partly(pair: Pair, tier: int, failed: Failed | None) -> str:
        return GOOD[tier] if tier == 1 else ""

    summary = run(tmp_path, Scripted(partly), count=5, attempts=1, patience=3)
    assert (summary.complete, summary.refused) == (0, 10)
    writer = Scripted(partly)
    summary = run(tmp_path, writer, count=6, attempts=1, patience=3)
    assert (summary.complete, summary.refused) == (0, 12)
    assert ("000005", 1) in writer.asked


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"model": "other", "seed": 0}, r'other model \("toy", now "other"\): choose another'),
        ({"model": "toy", "seed": 1}, r"other seed \(0, now 1\)"),
        ({"model": "toy", "seed": 0, "prompts": {"system": "x" * 99}}, "begun with other prompts:"),
        ({"model": "toy"}, "other seed"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(tmp_path: Path, about: dict, message: str):
    run(tmp_path, Scripted(well))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    writer = Scripted(well)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, writer, about=about)
    assert writer.asked == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_settings_may_change_while_nothing_is_answered(tmp_path: Path):
    def wrong_model(*_: Any) -> str:
        raise WritingError("no such model")

    with pytest.raises(WritingError):
        run(tmp_path, Scripted(wrong_model), about={"model": "tyo", "seed": 0})
    assert run(tmp_path, Scripted(well)).complete == 3
    assert json.loads((tmp_path / "about.json").read_text()) == ABOUT


def test_answers_without_their_settings_are_refused(tmp_path: Path):
    run(tmp_path, Scripted(well))
    (tmp_path / "about.json").unlink()
    with pytest.raises(ValueError, match="has answers but no about.json"):
        run(tmp_path, Scripted(well))


def test_two_cannot_write_at_once(tmp_path: Path):
    with Answers(str(tmp_path), ABOUT):
        with pytest.raises(BlockingIOError, match="written by another process"):
            run(tmp_path, Scripted(well))
    assert run(tmp_path, Scripted(well)).complete == 3


def test_a_bucket_is_no_place_to_append_to():
    with pytest.raises(ValueError, match="gs://b/x: answers are kept in a local folder"):
        Answers("gs://b/x", ABOUT)


def test_as_many_are_asked_at_a_time_as_wanted(tmp_path: Path):
    together = threading.Barrier(3)

    def meet(pair: Pair, tier: int, failed: Failed | None) -> str:
        together.wait(timeout=10)
        return GOOD[tier]

    assert run(tmp_path, Scripted(meet), count=2, parallel=3).complete == 2


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"parallel": 0}])
def test_asking_needs_numbers_above_0(settings: dict):
    with pytest.raises(ValueError, match="is 0: say at least 1"):
        Asking(**settings)
