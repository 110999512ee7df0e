"""Explanations of all pairs in three tiers: asks for what is missing, checks it, writes tables.

    OUT/<name>_adiff_fewwords_answer.csv
    OUT/<name>_adiff_sentence_answer.csv
    OUT/<name>_adiff_detail_answer.csv

with the columns of ADIFF's published data, the same pairs in the same order in each: those of which
all three tiers are there. Which pairs are missing is said, never made up for.
"""

import csv
import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from adiff_jax.data.prompts import CANONICAL
from adiff_jax.data.writing.answers import (
    Answers,
    Failed,
    Refused,
    Unanswered,
    Writer,
    WritingError,
)
from adiff_jax.data.writing.checks import problem
from adiff_jax.data.writing.pairs import Pair
from adiff_jax.data.writing.prompts import TIERS, Prompts

COLUMNS = ("taskname", "filepath1", "filepath2", "caption1", "caption2", "input", "answer")
_FILES = {1: "fewwords", 2: "sentence", 3: "detail"}


@dataclass(frozen=True)
class Asking:
    """How answers are asked for: how often one whose form is wrong, how many at a time, and when
    there is no use in going on (None: never): after `patience` texts in a row that nobody answered,
    or, as long as not one answer was good, that failed for any reason."""

    attempts: int = 4
    parallel: int = 1
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("attempts", "parallel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: say at least 1")


@dataclass(frozen=True)
class Summary:
    """What there is at the end: pairs in the tables of all pairs, texts refused, the tables."""

    pairs: int
    complete: int
    refused: int
    tables: tuple[Path, ...]

    def __str__(self) -> str:
        lines = [f"{self.complete} of {self.pairs} pairs with all three tiers"]
        if self.complete < self.pairs:
            lines.append(
                f"{self.pairs - self.complete} pairs are missing from the tables: {self.refused} "
                "texts were refused, see refused.jsonl; the same command asks for them again"
            )
        return "\n".join([*lines, *map(str, self.tables)])


def write_explanations(
    pairs: Sequence[Pair],
    writer: Writer,
    answers: Answers,
    out: Path,
    name: str,
    prompts: Prompts,
    asking: Asking,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Ask `writer` for every text that the open `answers` lack, then write the tables of `name`
    under `out`. `progress` is called with the texts seen to and with all texts there are to be.

    Raises WritingError, without tables, when the writer or the patience is at its end. On an
    interrupt the answers that are on their way are still waited for and kept.
    """
    wanted = [(pair, tier) for pair in pairs for tier in TIERS]
    todo = [(pair, tier) for pair, tier in wanted if (pair.id, tier) not in answers.accepted]
    done = len(wanted) - len(todo)
    progress(done, len(wanted))
    asked = _Asked(writer, answers, prompts, asking)
    refused = 0
    with ThreadPoolExecutor(asking.parallel) as pool:
        futures = [pool.submit(asked.obtain, pair, tier) for pair, tier in todo]
        try:
            for future in as_completed(futures):
                refused += bool(future.result())
                done += 1
                progress(done, len(wanted))
        finally:
            asked.halt.set()
            writer.stop()
            pool.shutdown(wait=True, cancel_futures=True)
    complete = [p for p in pairs if all((p.id, tier) in answers.accepted for tier in TIERS)]
    tables = tuple(_write_table(complete, tier, answers, out, name) for tier in TIERS)
    return Summary(len(pairs), len(complete), refused, tables)


class _Asked:
    """Asks for one text after another, on any thread, until `halt` is set."""

    def __init__(self, writer: Writer, answers: Answers, prompts: Prompts, asking: Asking) -> None:
        self._writer, self._answers = writer, answers
        self._prompts, self._asking = prompts, asking
        self._lock = threading.Lock()
        self._failed = self._unanswered = 0  # in a row
        self.halt = threading.Event()

    def obtain(self, pair: Pair, tier: int) -> str:
        """Why there is no text, or "" if there is one or there was no more asking."""
        if self.halt.is_set():
            return ""
        try:
            why = self._ask(pair, tier)
            if why:
                self._answers.refuse(pair, tier, str(why))
            self._count(why)
        except BaseException:
            self.halt.set()  # now, rather than when the main thread hears of it
            raise
        return str(why or "")

    def _ask(self, pair: Pair, tier: int) -> Refused | None:
        """Ask until the form is right; what kept it from being so, if it never was."""
        failed: Failed | None = None
        for _ in range(self._asking.attempts):
            try:
                answer = self._writer.write(pair, tier, failed)
            except Refused as error:
                return error
            words = self._prompts.tiers[tier - 1].words
            fault = answer.fault or problem(answer.text, tier, words)
            self._answers.keep(pair, tier, answer, fault)
            if not fault:
                return None
            failed = Failed(answer.text, fault)
        return Refused(failed.reason if failed else "")

    def _count(self, why: Refused | None) -> None:
        """Raise WritingError when the patience is at its end.

        Texts that a model always refuses come one after another when a run is taken up again, and
        must not end it; so they count only while nothing else has come of the work.
        """
        with self._lock:
            self._failed = self._failed + 1 if why else 0
            self._unanswered = self._unanswered + 1 if isinstance(why, Unanswered) else 0
            hopeless = self._unanswered if self._answers.accepted else self._failed
            if self._asking.patience and hopeless >= self._asking.patience:
                raise WritingError(
                    f"{hopeless} texts in a row could not be had, the last because it {why}; mend "
                    "that, and run the same command again: what is answered is kept"
                )


def _write_table(pairs: Sequence[Pair], tier: int, answers: Answers, out: Path, name: str) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for pair in pairs:
        answer = answers.accepted[pair.id, tier]
        writer.writerow([name, *pair.files, *pair.captions, CANONICAL[f"tier-{tier}"], answer])
    path = out / f"{name}_adiff_{_FILES[tier]}_answer.csv"
    beside = path.with_suffix(".tmp")
    beside.write_text(text.getvalue(), "utf-8")
    beside.replace(path)  # never half a table
    return path
