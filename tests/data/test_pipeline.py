"""Properties of the loader: order, resumption, exact evaluation, bounded reading, errors."""

import itertools
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adiff_jax.data.order import RowOrder
from adiff_jax.data.pipeline import (
    ExampleError,
    LoaderConfig,
    WorkerError,
    evaluation_batches,
    train_batches,
)
from adiff_jax.data.schema import Arrays, Source
from tests.data.toy_source import (
    CAPTIONS,
    BackendProbe,
    BrokenSource,
    DeadlySource,
    LoggingSource,
    ToySource,
    toy_encode,
    toy_tokenizer,
)

ENCODE = toy_encode()
WORKERS = LoaderConfig(workers=2, threads=1, prefetch=1)


def train(
    source: Source, steps: int, start: int = 0, parts: int = 1, config: LoaderConfig | None = None
) -> list[Arrays]:
    """Global batches of 8, joined from the batches of `parts` processes."""
    order = RowOrder(len(source), seed=7)
    config = config or LoaderConfig()
    slices = [
        train_batches(source, ENCODE, order, 8, start, part, parts, config, steps)
        for part in range(parts)
    ]
    return join(slices)


def join(slices: list[Iterator[Arrays]]) -> list[Arrays]:
    return [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*slices, strict=True)
    ]


def assert_equal(found: list[Arrays], expected: list[Arrays]) -> None:
    assert len(found) == len(expected)
    for batch, other in zip(found, expected, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key], err_msg=key)
            assert batch[key].dtype == other[key].dtype


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize(
    "config", [LoaderConfig(threads=1, prefetch=1), LoaderConfig(threads=4, prefetch=4)]
)
def test_order_is_that_of_the_rows_for_any_processes_and_threads(
    parts: int, config: LoaderConfig
) -> None:
    source, order = ToySource(13), RowOrder(13, seed=7)
    batches = train(source, 5, parts=parts, config=config)
    found = np.concatenate([batch["example_id"] for batch in batches])
    np.testing.assert_array_equal(found, [order.row(position) for position in range(40)])
    assert_equal(batches, train(source, 5))


def test_order_is_the_same_with_two_workers_and_two_processes() -> None:
    source = ToySource(13)
    joined = train(source, 5, parts=2, config=WORKERS)
    assert_equal(joined, train(source, 5))


@pytest.mark.parametrize("start", [1, 3, 5])
def test_resuming_at_a_step_equals_skipping_to_it(start: int) -> None:
    source = ToySource(13)
    assert_equal(train(source, 5, start), train(source, 5)[start:])


def test_batches_straddle_epochs_and_every_row_comes_once_an_epoch() -> None:
    batches = train(ToySource(12), 3)
    ids = np.concatenate([batch["example_id"] for batch in batches])
    assert sorted(ids[:12]) == sorted(ids[12:]) == list(range(12))
    assert all(batch["valid"].all() for batch in batches)


def test_training_has_no_end_unless_told() -> None:
    batches = train_batches(ToySource(3), ENCODE, RowOrder(3), 8)
    assert len(list(itertools.islice(batches, 20))) == 20
    assert train(ToySource(3), steps=2, start=2) == []


def test_captions_are_drawn_uniformly_and_anew_each_epoch() -> None:
    batches = train(ToySource(4), 150)
    tokenizer, end = toy_tokenizer(), toy_tokenizer().end_id
    targets = [(*tokenizer.encode(caption), end) for caption in CAPTIONS]
    drawn = np.zeros((4, 3), int)
    for batch in batches:
        for row, mask, index in zip(
            batch["tokens"], batch["tokens_mask"], batch["example_id"], strict=True
        ):
            drawn[index, targets.index(tuple(row[mask]))] += 1
    assert drawn.sum() == 1200
    assert np.all(np.abs(drawn - 100) < 33)  # four standard deviations


@pytest.mark.parametrize("size", [1, 7, 8, 9, 33])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_evaluation_reads_every_example_once_in_order(size: int, parts: int) -> None:
    source = ToySource(size)
    batches = join([evaluation_batches(source, ENCODE, 8, part, parts) for part in range(parts)])
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    assert all(len(batch["valid"]) == 8 for batch in batches)
    np.testing.assert_array_equal(joined["example_id"][joined["valid"]], np.arange(size))
    padding = ~joined["valid"]
    assert padding.sum() == -size % 8
    for key in joined.keys() - {"valid"}:
        assert np.all(joined[key][padding] == joined[key][0]), key


def test_evaluation_uses_one_caption_of_each_example_and_always_the_same() -> None:
    batches = [next(evaluation_batches(ToySource(8), ENCODE, rows)) for rows in (8, 8, 4)]
    tokenizer = toy_tokenizer()
    said = [[tokenizer.decode(row.tolist()) for row in batch["tokens"]] for batch in batches]
    assert said[0] == said[1] == said[2] + said[0][4:]
    assert set(said[0]) == set(CAPTIONS)


def settled_reads(source: LoggingSource) -> int:
    """Number of reads once no more come."""
    reads = -1
    while reads != source.reads:
        reads = source.reads
        time.sleep(0.3)
    return reads


def test_reading_ahead_is_bounded_by_prefetch(tmp_path: Path) -> None:
    source = LoggingSource(1000, tmp_path / "log")
    batches = train_batches(
        source, ENCODE, RowOrder(1000), 4, config=LoaderConfig(threads=2, prefetch=3)
    )
    for taken in (1, 2, 5):
        for _ in range(taken):
            next(batches)
    assert settled_reads(source) == (8 + 3) * 4


def test_reading_ahead_of_workers_is_bounded_and_they_end_with_the_consumer(
    tmp_path: Path,
) -> None:
    source = LoggingSource(1000, tmp_path / "log")
    batches = train_batches(source, ENCODE, RowOrder(1000), 4, config=WORKERS)
    next(batches)
    reads = settled_reads(source)
    assert multiprocessing.active_children()
    batches.close()
    assert not multiprocessing.active_children()
    assert reads <= (1 + WORKERS.workers * (WORKERS.prefetch + 4)) * 4


@pytest.mark.parametrize("config", [LoaderConfig(), WORKERS])
def test_an_example_that_fails_is_named_and_ends_the_iteration(config: LoaderConfig) -> None:
    batches = evaluation_batches(BrokenSource(9), ENCODE, 2, config=config)
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(ExampleError, match=r"example 5: clip-5.wav is truncated"):
        next(batches)
    assert not multiprocessing.active_children()


def test_workers_outlive_a_preemption_notice(capfd: pytest.CaptureFixture[str]) -> None:
    """It goes to all processes of a job, and what is read meanwhile is still wanted."""
    expected = train(ToySource(16), 12)
    found = train_batches(ToySource(16), ENCODE, RowOrder(16, 7), 8, config=WORKERS, steps=12)
    batches = [next(found)]
    for worker in multiprocessing.active_children():
        worker.terminate()
    time.sleep(0.3)
    assert all(worker.is_alive() for worker in multiprocessing.active_children())
    assert_equal(batches + list(found), expected)
    assert "died" not in capfd.readouterr().err
    assert not multiprocessing.active_children()


def test_workers_that_are_killed_are_replaced_and_no_row_is_lost(
    capfd: pytest.CaptureFixture[str],
) -> None:
    expected = train(ToySource(16), 30)
    found = train_batches(ToySource(16), ENCODE, RowOrder(16, 7), 8, config=WORKERS, steps=30)
    batches = [next(found), next(found), next(found)]
    for worker in multiprocessing.active_children():
        worker.kill()
    assert_equal(batches + list(found), expected)
    assert "a data worker died and is replaced" in capfd.readouterr().err
    assert not multiprocessing.active_children()


def test_workers_that_cannot_be_kept_alive_are_an_error() -> None:
    batches = train_batches(DeadlySource(9), ENCODE, RowOrder(9), 3, config=WORKERS)
    with pytest.raises(WorkerError, match="again and again.*lower data.loader.workers"):
        next(batches)
    assert not multiprocessing.active_children()


def test_an_example_that_does_not_fit_is_named_with_its_id() -> None:
    batches = evaluation_batches(ToySource(3), toy_encode(max_tokens=2), 2)
    with pytest.raises(ExampleError, match=r"example 0 \(toy-0\): caption 'add a dog' takes 4"):
        next(batches)


def test_an_error_without_a_message_is_named_by_its_type() -> None:
    class Wordless(ToySource):
        def read(self, index: int) -> None:
            raise EOFError

    with pytest.raises(ExampleError, match="example 0: EOFError"):
        next(evaluation_batches(Wordless(1), ENCODE, 1))


def test_workers_start_no_jax_backend() -> None:
    batches = train(BackendProbe(8), 2, config=WORKERS)
    assert len(batches) == 2


def test_a_batch_that_processes_do_not_divide_is_refused_before_loading() -> None:
    with pytest.raises(ValueError, match="global_batch is 6"):
        train_batches(ToySource(8), ENCODE, RowOrder(8), 6, 0, 0, 4)
    with pytest.raises(ValueError, match="global_batch is 6"):
        evaluation_batches(ToySource(8), ENCODE, 6, 0, 4)


def test_an_order_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="RowOrder.size is 7, but the source holds 8"):
        train_batches(ToySource(8), ENCODE, RowOrder(7), 8)


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(ValueError, match="no examples"):
        evaluation_batches(ToySource(0), ENCODE, 8)


@pytest.mark.parametrize("field", ["threads", "prefetch", "workers"])
def test_a_loader_setting_out_of_range_is_named(field: str) -> None:
    with pytest.raises(ValueError, match=f"LoaderConfig.{field} is -1"):
        LoaderConfig(**{field: -1})


def test_threads_that_would_have_nothing_to_work_on_are_refused() -> None:
    with pytest.raises(ValueError, match="prefetch is 2; 8 threads need at least as many batches"):
        LoaderConfig(threads=8)
