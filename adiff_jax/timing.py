"""Timing calls, and the table that says how long they took on which machine.

A call is made a few times to warm up (and compile), then timed until both `LEAST_CALLS` calls and
`LEAST_SECONDS` seconds have passed; the table gives the median and the quartiles. Calls that are to
be compared take turns, so that whatever else the machine does meets all of them.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

LEAST_CALLS = 5
LEAST_SECONDS = 3.0

HEAD = """\
| subject | what | engine | rate | a call, ms (quartiles) | calls |
|---|---|---|---:|---:|---:|"""
"""The first lines of the table whose others are rows."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and quartiles over `calls` calls."""

    median: float
    lower: float
    upper: float
    calls: int


@dataclass(frozen=True)
class Row:
    """One line of the table: a call of `what` makes `items` of `unit`."""

    subject: str
    what: str
    engine: str  # "jax", "torch" or "numpy"
    timing: Timing
    items: int
    unit: str

    @property
    def rate(self) -> float:
        """Items per second at the median."""
        return self.items / self.timing.median

    def __str__(self) -> str:
        """The line of a markdown table under `HEAD`."""
        timing = self.timing
        median, lower, upper = (
            _rounded(1000 * seconds) for seconds in (timing.median, timing.lower, timing.upper)
        )
        return (
            f"| {self.subject} | {self.what} | {self.engine} | {_rounded(self.rate)} {self.unit}/s "
            f"| {median} ({lower}–{upper}) | {timing.calls} |"
        )


def _rounded(number: float) -> str:
    """Three digits that count, without an exponent."""
    return f"{float(f'{number:.3g}'):,.10g}"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """Processor, cores this process may use, device and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return (
        f"{model}, {cores()} cores, {jax.device_count()} × {jax.devices()[0].device_kind}, "
        f"jax {jax.__version__}"
    )


def measure(call: Callable[[], Any], warm_up: int = 2) -> Timing:
    """Time `call`; arrays that it returns are waited for."""
    return timing_of(take_turns([call], warm_up)[0])


def take_turns(calls: Sequence[Callable[[], Any]], warm_up: int = 2) -> list[list[float]]:
    """Seconds of every call, round after round, each called once a round.

    Rounds go on until every call has had `LEAST_SECONDS`; arrays that it returns are waited for.
    """
    for call in calls:
        for _ in range(warm_up):
            jax.block_until_ready(call())
    seconds: list[list[float]] = [[] for _ in calls]
    while len(seconds[0]) < LEAST_CALLS or min(map(sum, seconds)) < LEAST_SECONDS:
        for call, taken in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            taken.append(time.perf_counter() - start)
    return seconds


def timing_of(seconds: Sequence[float]) -> Timing:
    """Median and quartiles of these calls."""
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, lower, upper, len(seconds))
