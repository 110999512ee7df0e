"""What a writer answers, and the folder that keeps every answer at once.

    OUT/about.json      what the answers depend on; other settings are refused there
    OUT/answers.jsonl   every answer, good or not, with what was asked: one JSON object a line
    OUT/refused.jsonl   what the latest run had to give up, and why

A line is written as soon as the answer is there, so that an interrupted run loses what was on its
way and nothing else. Local folders only: object stores cannot append.
"""

import fcntl
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Protocol, runtime_checkable

from adiff_jax.data.writing.pairs import Pair
from adiff_jax.storage import local

ABOUT = "about.json"
ANSWERS = "answers.jsonl"
REFUSED = "refused.jsonl"


class WritingError(ValueError):
    """The work cannot go on, and starting it again as it is would not help."""


class Refused(ValueError):
    """This one answer could not be had; others may be."""


class Unanswered(Refused):
    """This one could not be had because nobody answers, or not in a way that can be read."""


@dataclass(frozen=True)
class Answer:
    """A text, and where it comes from: `messages` that were sent, tokens used as the server counts
    them, `record` of whatever else is to be kept; `fault` as the server itself reports it."""

    text: str
    messages: Sequence[Mapping[str, str]] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Failed:
    """An answer that did not have the form, and the reason as a phrase that follows "it"."""

    text: str
    reason: str


@runtime_checkable
class Writer(Protocol):
    """Writes the explanation of a pair in a tier; called from several threads.

    Raises Refused when it cannot have this one, WritingError when there is no use in going on.
    """

    def write(self, pair: Pair, tier: int, failed: Failed | None) -> Answer:
        """An answer; `failed` is the one before, if its form was wrong."""
        ...

    def stop(self) -> None:
        """Wait for nothing more: whoever waits, or asks from now on, gets a WritingError."""
        ...


class Answers:
    """The answers kept in a folder; a context manager that keeps other processes out.

    Entering raises ValueError when the folder was begun with other settings or holds lines that
    are no answers, BlockingIOError (an OSError) when another process writes there.
    """

    def __init__(self, out: str, about: Mapping[str, Any]) -> None:
        if "://" in out:
            raise ValueError(f"{out}: answers are kept in a local folder; copy it when it is done")
        self._out = local(out)
        self._about = json.loads(json.dumps(about))  # tuples as lists, as they are read back
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        self.accepted: dict[tuple[str, int], str] = {}

    def __enter__(self) -> "Answers":
        self._out.mkdir(parents=True, exist_ok=True)
        self._file = (self._out / ANSWERS).open("a+", encoding="utf-8", newline="\n")
        try:
            self._keep_others_out(self._file)
            self._check_about()
            self._read(self._file)
            (self._out / REFUSED).unlink(missing_ok=True)  # they are asked again
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file
        self._file.close()

    def keep(self, pair: Pair, tier: int, answer: Answer, problem: str) -> None:
        """Write an answer down; it counts as accepted when `problem` is empty."""
        line = {
            "pair": pair.id,
            "tier": tier,
            "files": pair.files,
            "captions": pair.captions,
            "text": answer.text,
            "problem": problem,
            "messages": answer.messages,
            "usage": answer.usage,
            **answer.record,
        }
        with self._lock:
            assert self._file
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            if not problem:
                self.accepted[pair.id, tier] = answer.text.strip()

    def refuse(self, pair: Pair, tier: int, reason: str) -> None:
        """Write down that an answer could not be had."""
        line = {"pair": pair.id, "tier": tier, "files": pair.files, "reason": reason}
        with self._lock, (self._out / REFUSED).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _keep_others_out(self, file: IO[str]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"{self._out} is being written by another process: wait for it, or stop it"
            ) from error
        except OSError:
            return  # a file system without locks

    def _check_about(self) -> None:
        path = self._out / ABOUT
        if not (self._out / ANSWERS).stat().st_size:  # nothing yet depends on it
            beside = path.with_suffix(".tmp")
            beside.write_text(json.dumps(self._about, indent=2, ensure_ascii=False), "utf-8")
            beside.replace(path)  # never half of it
            return
        if not path.exists():
            raise ValueError(f"{self._out} has answers but no {ABOUT}: choose another folder")
        stored = json.loads(path.read_text("utf-8"))
        names = [*self._about, *(name for name in stored if name not in self._about)]
        changed = [name for name in names if stored.get(name) != self._about.get(name)]
        if changed:
            name = changed[0]
            was, now = (json.dumps(about.get(name)) for about in (stored, self._about))
            values = f" ({was}, now {now})" if max(len(was), len(now)) < 50 else ""
            raise ValueError(
                f"{self._out} was begun with other {', other '.join(changed)}{values}: choose "
                "another folder, or go on with what it was begun with"
            )

    def _read(self, file: IO[str]) -> None:
        """Take what is accepted, and cut off the line that was being written at a kill."""
        file.seek(0)
        whole = 0  # bytes of the lines that are complete
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                break
            try:
                entry = json.loads(line)
                if not entry["problem"]:
                    self.accepted[entry["pair"], entry["tier"]] = entry["text"].strip()
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self._out / ANSWERS} line {number} is no answer: remove the line, and it is "
                    "asked again"
                ) from error
            whole += len(line.encode())
        file.truncate(whole)
