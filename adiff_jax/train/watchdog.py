"""A training that stands still ends, and says where it stood.

A process whose disk or device hangs stops nobody's heart: it would keep a whole pod waiting, paid
for, without a word. What it waits for is watched, and after the bound the process ends with
`EXIT_CODE`, all its threads on stderr; the launcher starts the job again from its checkpoint.
"""

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import jax

from adiff_jax.parallel.processes import leave

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: the same command may do better."""


class Watchdog:
    """A context. `seconds` bounds every wait inside `watching`; 0 watches nothing.

    `end` is told what was waited for when a wait was too long; by default it ends the process.
    """

    def __init__(self, seconds: float, end: Callable[[str], None] | None = None) -> None:
        self._seconds, self._end = seconds, end or _end
        self._lock = threading.Condition()
        self._waiting: tuple[float, str] | None = None  # until when, for what
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Watchdog":
        if self._seconds:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
            self._lock.notify()
        if thread is not None:
            thread.join()

    @contextlib.contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """While entered, time runs: `what` is waited for, "the batch of step 7"."""
        with self._lock:
            self._waiting = (time.monotonic() + self._seconds, what)
            self._lock.notify()
        try:
            yield
        finally:
            with self._lock:
                self._waiting = None

    def _watch(self) -> None:
        with self._lock:
            while self._thread is not None:
                if self._waiting is None:
                    self._lock.wait()
                    continue
                until, what = self._waiting
                left = until - time.monotonic()
                if left > 0:
                    self._lock.wait(left)
                    continue
                self._waiting = None
                self._end(f"{what} has not come within {self._seconds:g} s")


def _end(text: str) -> None:
    faulthandler.dump_traceback(all_threads=True)
    here = f"process {jax.process_index()} of {jax.process_count()}"
    print(
        f"{here} ends: {text}. Above is where each of its threads stood. If all processes say so, "
        "look for the one that waits for its data; start the same command again to go on",
        file=sys.stderr,
    )
    leave(EXIT_CODE)
