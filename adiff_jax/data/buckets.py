"""Batches whose captions are of about one length, so that short ones are not padded to the longest.

Every row belongs to the smallest bucket that holds the longest of its captions, and a batch is
made of rows of one bucket. As in `adiff_jax.data.order`, which rows a step reads is a function of
(seed, epoch, step) and of nothing else.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from adiff_jax.data.order import draw_at
from adiff_jax.data.schema import Foretelling, Source, TextEncoder
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.data.wording import wording

_ROW_STREAM, _BATCH_STREAM = 2, 3  # 0 and 1 are those of `order`


@dataclass(frozen=True, eq=False)
class BucketOrder:
    """Random access to an endless sequence of epochs over rows of `lengths` [n] tokens.

    An epoch reads the rows of each bucket in a permutation of its own, cut into batches of
    `global_batch`, and the batches of all buckets in one order. The rows that are left over in a
    bucket, fewer than a batch, are not read in that epoch: which ones differs from epoch to epoch.
    So no batch straddles epochs, and all epochs have the same number of steps.

    Raises ValueError for a row that no bucket holds, and for a bucket that holds rows but not a
    whole batch of them: they would never be read.
    """

    buckets: tuple[int, ...]
    lengths: np.ndarray
    global_batch: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.size:
            raise ValueError("the data source holds no examples")
        if self.global_batch < 1:
            raise ValueError(f"global_batch is {self.global_batch}; it must be positive")
        longest = int(self.lengths.max())
        if longest > self.buckets[-1]:
            raise ValueError(
                f"row {int(self.lengths.argmax())} has a caption of up to {longest} tokens, but "
                f"the largest of data.encode.buckets is {self.buckets[-1]}; make it that large"
            )
        for bucket, rows in zip(self.buckets, self._rows, strict=True):
            if 0 < len(rows) < self.global_batch:
                raise ValueError(
                    f"bucket {bucket} of data.encode.buckets holds {len(rows)} rows, fewer than "
                    f"the batch of {self.global_batch}: they would never be read; leave out the "
                    "bucket, or the one before it if it is the last"
                )

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.lengths)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return sum(len(rows) // self.global_batch for rows in self._rows)

    def row(self, position: int) -> int:
        """The row of the data source that is read at global `position`."""
        step, place = divmod(position, self.global_batch)
        epoch, batch = divmod(step, self.steps)
        return int(_plan(self, epoch).rows[batch, place])

    def draw(self, position: int) -> int:
        """64 random bits that belong to `position`."""
        return draw_at(self.seed, position)

    def bucket(self, position: int) -> int:
        """Tokens of the rows of the batch that `position` is in."""
        epoch, batch = divmod(position // self.global_batch, self.steps)
        return self.buckets[_plan(self, epoch).buckets[batch]]

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        """The rows of each bucket."""
        found = np.searchsorted(self.buckets, self.lengths)
        return [np.flatnonzero(found == number) for number in range(len(self.buckets))]


class _Plan(NamedTuple):
    """An epoch: the rows of every batch [steps global_batch], and its bucket's number [steps]."""

    rows: np.ndarray
    buckets: np.ndarray


@lru_cache(maxsize=4)
def _plan(order: BucketOrder, epoch: int) -> _Plan:
    batches, buckets = [], []
    for number, rows in enumerate(order._rows):
        whole = len(rows) // order.global_batch
        shuffled = rows[_permutation(len(rows), order.seed, _ROW_STREAM, epoch, number)]
        kept = shuffled[: whole * order.global_batch]
        batches.append(kept.reshape(whole, order.global_batch))
        buckets.append(np.full(whole, number))
    turn = _permutation(order.steps, order.seed, _BATCH_STREAM, epoch)
    return _Plan(np.concatenate(batches)[turn], np.concatenate(buckets)[turn])


def _permutation(size: int, *key: int) -> np.ndarray:
    return np.argsort(np.random.PCG64(key).random_raw(size), kind="stable")


def caption_lengths(
    source: Source,
    config: EncodeConfig,
    tokenizer: TextEncoder,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """Tokens, end included, of the longest caption of every row: int64 [n].

    A source that would have to make audio for its captions says how long they can be instead.
    `progress` wraps the indices.
    """
    form = wording(tokenizer, config.compat)

    def longest(index: int) -> int:
        if isinstance(source, Foretelling):
            texts = source.longest_texts(index)
        else:
            texts = source.truth(index).references
        return max((len(form.answer(text)[0]) for text in texts), default=0)

    return np.fromiter((longest(i) for i in progress(range(len(source)))), np.int64)
