"""The batches that a training reads, and how long its device had nothing to do for want of one."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import jax
import numpy as np

from adiff_jax.train.refusals import TrainingError

Arrays = Mapping[str, np.ndarray]
Batches = Callable[[int], Generator[Arrays, None, None]]
"""First step -> batches from there on without end, this process's rows of each; closed when
training ends, and with it the threads and workers behind it."""


def fetch(stream: Iterator[Arrays], step: int, steps: int, global_batch: int) -> Arrays:
    """The next batch. Raises TrainingError naming the step when the data fails or ends, or the
    rows are not this process's share of the global batch."""
    try:
        arrays = next(stream)
    except StopIteration as error:
        raise TrainingError(
            f"the data ended at step {step} of {steps}; training needs an endless stream"
        ) from error
    except Exception as error:  # of any kind: it is raised again, with the step
        raise TrainingError(f"no batch for step {step}: {error}") from error
    rows = global_batch // jax.process_count()
    for name, array in arrays.items():
        if len(array) != rows:
            raise TrainingError(
                f"step {step}: {name} has {len(array)} rows; global_batch={global_batch} "
                f"on {jax.process_count()} process(es) means {rows}"
            )
    return arrays


class Idleness:
    """A context: how long the device has been idle, told by when it finished its last work.

    The next batch is fetched while the device computes, so that the time a fetch takes says
    little: what counts is how much of it came after the end of the step before.
    """

    def __init__(self) -> None:
        self._watch = ThreadPoolExecutor(1, "idleness")
        self._finished: Future[float] | None = None

    def __enter__(self) -> "Idleness":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.shutdown(wait=False)

    def busy_until(self, result: jax.Array) -> None:
        """The device has work, whose end is when `result` is there."""
        self._finished = self._watch.submit(_end_of, result)

    def since(self, began: float) -> float:
        """Seconds from `began` (of `time.perf_counter`) until now in which it had none."""
        now, end = time.perf_counter(), began
        if self._finished is not None:
            if not self._finished.done():
                return 0.0
            if self._finished.exception() is not None:  # raised by whoever reads the result
                return 0.0
            end = self._finished.result()
        return now - max(began, end)


def _end_of(result: jax.Array) -> float:
    jax.block_until_ready(result)
    return time.perf_counter()
