"""Properties of the row order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adiff_jax.data.order import RowOrder, process_rows


@given(size=st.integers(1, 40), seed=st.integers(0, 2**40), epoch=st.integers(0, 10**6))
def test_every_epoch_reads_every_row_once(size: int, seed: int, epoch: int) -> None:
    order = RowOrder(size, seed)
    rows = [order.row(epoch * size + place) for place in range(size)]
    assert sorted(rows) == list(range(size))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def rows(seed: int, epoch: int) -> list[int]:
        return [RowOrder(50, seed).row(epoch * 50 + place) for place in range(50)]

    orders = {tuple(rows(seed, epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_rows_come_as_stored_without_shuffle() -> None:
    order = RowOrder(3, shuffle=False)
    assert [order.row(position) for position in range(8)] == [0, 1, 2, 0, 1, 2, 0, 1]


def test_order_and_draws_never_change_between_versions() -> None:
    """A resumed run relies on these numbers."""
    order = RowOrder(8, seed=3)
    assert [order.row(position) for position in range(16)] == [
        0,
        4,
        7,
        1,
        5,
        6,
        3,
        2,
        7,
        3,
        5,
        1,
        2,
        4,
        6,
        0,
    ]
    assert [order.draw(position) % 1000 for position in range(5)] == [299, 167, 657, 836, 740]


def test_draws_are_uniform_and_not_those_of_the_order() -> None:
    order = RowOrder(10, seed=1)
    counts = np.bincount([order.draw(position) % 5 for position in range(5000)], minlength=5)
    assert np.all(np.abs(counts - 1000) < 120)  # four standard deviations
    raw = np.random.PCG64((1, 0, 0)).random_raw(10)  # the stream of epoch 0's order
    assert not set(raw.tolist()) & {order.draw(position) for position in range(10)}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_process_slices_tile_the_global_batch_in_order(processes: int) -> None:
    joined = [k for process in range(processes) for k in process_rows(5, 8, process, processes)]
    assert joined == list(range(40, 48))


@pytest.mark.parametrize("global_batch", [0, 6, 9])
def test_a_batch_that_processes_do_not_divide_is_refused(global_batch: int) -> None:
    with pytest.raises(ValueError, match=f"global_batch is {global_batch}.*processes, 4"):
        process_rows(0, global_batch, 0, 4)


def test_a_process_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="process is 2"):
        process_rows(0, 8, 2, 2)


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no examples"):
        RowOrder(0)
