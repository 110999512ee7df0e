"""Where the time of a training went: in steps, or in what keeps it from them."""

import contextlib
import time
from collections.abc import Iterator
from typing import Literal, get_args

from etils import epath

Kind = Literal["step", "compile", "data_wait", "checkpoint", "evaluation", "restart", "start"]
"""What time is spent on: `data_wait` is time in which the device had nothing to do for want of a
batch; `start` makes the state, or reads it back; a process that goes on with the log of another has
`restart` instead, which begins when that one last wrote there."""


class Goodput:
    """A clock that always counts for one kind. It begins when made, and `log` is the file that an
    earlier process of this training wrote, if there was one."""

    def __init__(self, log: epath.Path) -> None:
        self._seconds: dict[Kind, float] = dict.fromkeys(get_args(Kind), 0.0)
        self._kind: Kind = "start"
        self._since = time.perf_counter()
        if log.exists():
            self._kind = "restart"
            self._seconds["restart"] = max(0.0, time.time() - log.stat().mtime)

    def turn_to(self, kind: Kind) -> None:
        """From now on time is spent on `kind`."""
        now = time.perf_counter()
        self._seconds[self._kind] += now - self._since
        self._kind, self._since = kind, now

    @contextlib.contextmanager
    def spend(self, kind: Kind) -> Iterator[None]:
        """While entered, time is spent on `kind`; afterwards again on what it was before."""
        before = self._kind
        self.turn_to(kind)
        try:
            yield
        finally:
            self.turn_to(before)

    def waited(self, seconds: float) -> None:
        """So many of the seconds counted for steps were waiting for data."""
        self._seconds["step"] -= seconds
        self._seconds["data_wait"] += seconds

    def report(self) -> dict[str, float]:
        """`seconds` in all, `goodput` (the share that was spent in steps), and the share of every
        other kind under its name."""
        self.turn_to(self._kind)
        total = sum(self._seconds.values())
        shares: dict[str, float] = {kind: taken / total for kind, taken in self._seconds.items()}
        return {"seconds": total, "goodput": shares.pop("step"), **shares}


def in_words(report: dict[str, float]) -> str:
    """The report as one line, without what took no time."""
    lost = {name: share for name, share in report.items() if name not in ("seconds", "goodput")}
    shown = [f"{name.replace('_', ' ')} {share:.1%}" for name, share in lost.items() if share]
    return f"goodput {report['goodput']:.1%} of {report['seconds']:.1f} s; {', '.join(shown)}"
