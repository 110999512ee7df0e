"""Which checkpoints of a run stay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orbax.checkpoint.checkpoint_managers import PreservationPolicy


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: the `last` newest and, with a `best_metric`, the best of all."""

    last: int = 2
    best_metric: str = ""
    best_mode: Literal["max", "min"] = "max"


class KeepLastAndBest(PreservationPolicy):
    """Orbax asks this after every save. (Its own best-of policy cannot open a directory in which
    one file of scores is broken.)"""

    def __init__(self, last: int, best: Callable[[Sequence[int]], int | None]) -> None:
        self._last, self._best = last, best

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        stay = {*steps[-self._last :], self._best(steps)}
        return [step in stay for step in steps]
