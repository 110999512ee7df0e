"""Which example is read when: a function of (seed, epoch, step) and of nothing else.

Global position k counts rows since the start of training; step s of a global batch b holds the
positions s*b ... (s+1)*b, and process p of P takes the contiguous slice p*b/P ... (p+1)*b/P of it.
The row order is therefore the same on any number of processes, and the logical step is all that a
checkpoint must remember. Random bits come from numpy's raw bit generators, whose streams are
fixed across numpy versions, unlike those of `numpy.random.Generator`.
"""

import functools
from dataclasses import dataclass

import numpy as np

_ORDER_STREAM, _DRAW_STREAM = 0, 1


@dataclass(frozen=True)
class RowOrder:
    """Random access to an endless sequence of epochs over `size` rows.

    With `shuffle` every epoch is a permutation of its own; without, rows come as they are stored.
    Batches may straddle epochs, so that every step has a full batch.
    """

    size: int
    seed: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"RowOrder.size is {self.size}: the data source holds no examples")
        if self.seed < 0:
            raise ValueError(f"RowOrder.seed is {self.seed}; it must not be negative")

    def row(self, position: int) -> int:
        """The row of the data source that is read at global `position`."""
        epoch, place = divmod(position, self.size)
        if not self.shuffle:
            return place
        return int(_permutation(self.size, self.seed, epoch)[place])

    def draw(self, position: int) -> int:
        """64 random bits that belong to `position`, independent of the permutation."""
        return draw_at(self.seed, position)


def draw_at(seed: int, position: int) -> int:
    """64 random bits that belong to a global position, whatever order the rows have."""
    return int(np.random.PCG64((seed, _DRAW_STREAM, position)).random_raw())


@functools.lru_cache(maxsize=4)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    bits = np.random.PCG64((seed, _ORDER_STREAM, epoch)).random_raw(size)
    return np.argsort(bits, kind="stable")


def rows_per_process(global_batch: int, processes: int) -> int:
    """Rows of every global batch that one process loads."""
    if global_batch < 1 or global_batch % processes:
        raise ValueError(
            f"global_batch is {global_batch}; it must be a positive multiple of the number of "
            f"processes, {processes}"
        )
    return global_batch // processes


def process_rows(step: int, global_batch: int, process: int, processes: int) -> range:
    """Global positions that `process` of `processes` loads at `step`."""
    if not 0 <= process < processes:
        raise ValueError(f"process is {process}; with {processes} processes it must be below that")
    local = rows_per_process(global_batch, processes)
    first = step * global_batch + process * local
    return range(first, first + local)


def share_of(text: str) -> tuple[int, int]:
    """(i, N) of "i/N", the i-th of N shares of some work. Raises ValueError for other text."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise ValueError(f"{text!r} must be i/N with 0 <= i < N, such as 3/20")
    return int(part), int(parts)


def shard_range(shard: int, shards: int, pieces: int) -> range:
    """The pieces of the work that are the shard's: consecutive ones, none left out, none twice."""
    return range(pieces * shard // shards, pieces * (shard + 1) // shards)
