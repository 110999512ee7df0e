"""From a source of examples to batches, on grain: read ahead by threads or worker processes.

The row order is that of `adiff_jax.data.order`; the iterators keep no state worth saving, a run
resumes by asking for `start_step`. Whole batches are made by one thread or worker each, so the
order depends on neither. Batches are `dict[str, np.ndarray]` with fields of
`adiff_jax.arrays.Batch` as keys and this process's rows on axis 0.
"""

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar, cast

import grain
import numpy as np
from absl import flags

from adiff_jax.data.buckets import BucketOrder
from adiff_jax.data.order import RowOrder, process_rows, rows_per_process
from adiff_jax.data.schema import Arrays, Example, Source
from adiff_jax.data.transforms import Encode, Row

_Read = TypeVar("_Read")

_ENDLESS = 2**40  # steps; a length that still fits in 64 bits once multiplied by a batch


@dataclass(frozen=True)
class LoaderConfig:
    """How far ahead and by whom batches are made.

    `workers` processes (0: none, this process loads) of `threads` threads each keep `prefetch`
    batches ready or in the making, one a thread or more; each worker has up to four more on their
    way to this process. Threads are enough for reading stored audio, workers pay where Python does
    the work, as in rendering scenes. A script that uses workers needs the usual
    `if __name__ == "__main__":`, since they import it.
    """

    workers: int = 0
    threads: int = 2
    prefetch: int = 2

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("threads", 1), ("prefetch", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"LoaderConfig.{name} is {getattr(self, name)}; it must be at least {least}"
                )
        if self.prefetch < self.threads:  # grain would let the other threads wait
            raise ValueError(
                f"LoaderConfig.prefetch is {self.prefetch}; {self.threads} threads need at least "
                "as many batches to work on"
            )


class WorkerError(RuntimeError):
    """Worker processes of the loader cannot be kept alive."""


class ExampleError(RuntimeError):
    """An example could not be loaded; the message names it and says why.

    Every failure of a source or transform is turned into this type, with one string as its only
    argument: an exception that cannot be pickled would never leave a worker, and the main process
    would wait for it forever.
    """


def train_batches(
    source: Source,
    encode: Encode,
    order: RowOrder | BucketOrder,
    global_batch: int,
    start_step: int = 0,
    process: int = 0,
    processes: int = 1,
    config: LoaderConfig = LoaderConfig(),  # noqa: B008 (frozen)
    steps: int | None = None,
) -> Iterator[Arrays]:
    """Batches of this process for the steps `start_step` ... `steps`, endless where that is None.

    Captions are drawn uniformly, by position. Rows of an order with buckets are as long as the
    bucket of their batch. Errors: ValueError for a batch that the processes do not divide, an order
    of another size than the source or of other batches; ExampleError while iterating.
    """
    if order.size != len(source):
        raise ValueError(f"RowOrder.size is {order.size}, but the source holds {len(source)}")
    if isinstance(order, BucketOrder) and order.global_batch != global_batch:
        raise ValueError(f"global_batch is {global_batch}, that of the order {order.global_batch}")
    rows = _Rows(source, encode, order, start_step, global_batch, process, processes)
    count = _ENDLESS // global_batch if steps is None else max(0, steps - start_step)
    return _batches(_TrainingRow(rows), count, rows.local, config)


def evaluation_batches(
    source: Source,
    encode: Encode,
    global_batch: int,
    process: int = 0,
    processes: int = 1,
    config: LoaderConfig = LoaderConfig(),  # noqa: B008 (frozen)
) -> Iterator[Arrays]:
    """Every example once, in the order of the source, with its fair caption as target.

    The last batch is filled up with copies of example 0 whose `valid` is False. Errors as
    `train_batches`.
    """
    order = RowOrder(len(source), shuffle=False)
    rows = _Rows(source, encode, order, 0, global_batch, process, processes)
    return _batches(_EvaluationRow(rows), -(-order.size // global_batch), rows.local, config)


def load_row(
    source: Source,
    encode: Callable[[Example, int, int | None], _Read],
    index: int,
    draw: int | None = None,
) -> _Read:
    """Read and encode example `index`. Errors: ExampleError that names it."""
    name = f"example {index}"
    try:
        example = source[index]
        name = f"example {index} ({example.id})"
        return encode(example, index, draw)
    except Exception as error:
        raise ExampleError(f"{name}: {str(error) or type(error).__name__}") from error


@dataclass(frozen=True)
class _Rows:
    """Which rows this process loads. Plain data, so that workers can receive it."""

    source: Source
    encode: Encode
    order: RowOrder | BucketOrder
    start_step: int
    global_batch: int
    process: int
    processes: int

    def __post_init__(self) -> None:
        self.position(0)  # refuse here, not in a worker, what the processes do not divide

    @property
    def local(self) -> int:
        return rows_per_process(self.global_batch, self.processes)

    def encode_at(self, position: int) -> Encode:
        """What encodes the row at a global position."""
        if isinstance(self.order, BucketOrder):
            return self._encode_of[self.order.bucket(position)]
        return self.encode

    @cached_property
    def _encode_of(self) -> dict[int, Encode]:
        config = self.encode.config
        return {
            size: replace(self.encode, config=replace(config, max_tokens=size, buckets=()))
            for size in getattr(self.order, "buckets", ())
        }

    def position(self, index: int) -> int:
        """The global position of the row that this process loads as its `index`-th."""
        step, place = divmod(index, self.local)
        rows = process_rows(self.start_step + step, self.global_batch, self.process, self.processes)
        return rows[place]


@dataclass(frozen=True)
class _TrainingRow:
    rows: _Rows

    def __call__(self, index: int) -> Row:
        rows, order = self.rows, self.rows.order
        position = rows.position(index)
        encode = rows.encode_at(position)
        encode_here = partial(encode, position=position)
        return load_row(rows.source, encode_here, order.row(position), order.draw(position))


@dataclass(frozen=True)
class _EvaluationRow:
    rows: _Rows

    def __call__(self, index: int) -> Row:
        rows = self.rows
        position = rows.position(index)
        valid = position < rows.order.size
        row = load_row(rows.source, rows.encode, position if valid else 0)
        return {**row, "valid": np.bool_(valid)}


def read_ahead(load: Callable[[int], _Read], count: int, config: LoaderConfig) -> Iterator[_Read]:
    """`load(0)` ... `load(count - 1)` in this order; `load` is picklable and never gives None."""
    if count:
        yield from _iterate(grain.MapDataset.range(count).map(load), config)


def _batches(
    load: Callable[[int], Row], count: int, local: int, config: LoaderConfig
) -> Iterator[Arrays]:
    dataset = grain.MapDataset.range(count * local).map(load).batch(local)
    return cast(Iterator[Arrays], _iterate(dataset, config))


def _iterate(elements: grain.MapDataset, config: LoaderConfig) -> Iterator[Any]:
    if config.workers:
        return _by_workers(elements, config)
    return _closing(elements.to_iter_dataset(_read_options(config)))


def _read_options(config: LoaderConfig) -> grain.ReadOptions:
    return grain.ReadOptions(num_threads=config.threads, prefetch_buffer_size=config.prefetch)


def _by_workers(elements: grain.MapDataset, config: LoaderConfig) -> Iterator[Any]:
    """Workers that die, of memory or by a signal, are replaced and go on with the next element.

    Raises WorkerError when the new ones die before they have read that.
    """
    flags.FLAGS.mark_as_parsed()  # grain reads absl flags when it starts workers
    # Batches that were ready when the loader is closed stay in shared memory, which Python's
    # resource tracker, a process of its own, frees at exit with a warning meant for bugs.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    workers = grain.MultiprocessingOptions(num_workers=config.workers, per_worker_buffer_size=1)
    given, died_at = 0, -1
    while True:
        dataset = elements[given:].to_iter_dataset(_read_options(config)).mp_prefetch(workers)
        try:
            for element in _closing(dataset):
                yield element
                given += 1
            return
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):  # grain's words
                raise
            if given == died_at:
                raise WorkerError(
                    f"data workers die again and again ({error}). Was it for memory? Then lower "
                    "data.loader.workers or data.loader.prefetch"
                ) from error
            died_at = given
            print(f"a data worker died and is replaced: {error}", file=sys.stderr, flush=True)


def _closing(dataset: grain.IterDataset) -> Iterator[Any]:
    """Iterate, and stop threads and workers when the consumer stops or an example fails."""
    iterator = iter(dataset)
    try:
        with _sigterm_held_back():
            first = list(itertools.islice(iterator, 1))
        yield from first
        yield from iterator
    finally:
        iterator.close()


@contextlib.contextmanager
def _sigterm_held_back() -> Iterator[None]:
    """Processes started meanwhile never receive SIGTERM; this one does, at the latest afterwards.

    A preemption notice often goes to all processes of a job. Training answers it by saving, for
    which its workers must live; they end with it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
