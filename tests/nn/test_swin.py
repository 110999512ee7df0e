"""Windows, moved grids, relative positions, stochastic depth; values: tests/parity/test_htsat."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.nn.swin import (
    PatchMerging,
    SwinBlock,
    from_windows,
    relative_positions,
    shift_mask,
    to_windows,
    window_attention,
)
from tests.models.toys import drawn
from tests.quick import quick_jit

WINDOW, HEADS, WIDTH = 4, 2, 8
RNG = np.random.default_rng(0)
GRID = jnp.asarray(RNG.standard_normal((2, 12, 8, WIDTH)), jnp.float32)


def block(shifted: bool, drop: float = 0.0) -> SwinBlock:
    return SwinBlock(HEADS, WINDOW, hidden=12, shifted=shifted, drop=drop)


@cache
def variables() -> dict[str, Any]:
    """Of any block: neither the move nor what is dropped has parameters."""
    return drawn(jax.eval_shape(partial(block(False).init, jax.random.key(0)), GRID))


def output(shifted: bool, grid: jax.Array = GRID) -> np.ndarray:
    return np.asarray(quick_jit(block(shifted).apply)(variables(), grid))


def regions(rows: int, columns: int) -> np.ndarray:
    """Window of every token of a grid whose windows lie half a window down and right; tokens at
    the edges are left with what lies in their part of a window."""
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    half = WINDOW // 2
    return (row + half) // WINDOW * 100 + (column + half) // WINDOW


def test_windows_are_cut_row_by_row_and_joined_again() -> None:
    places = jnp.arange(12 * 8, dtype=jnp.float32).reshape(1, 12, 8, 1)
    windows = to_windows(places, WINDOW)
    assert windows.shape == (1, 6, 16, 1)
    first_row = [0, 1, 2, 3, 8, 9, 10, 11]
    np.testing.assert_array_equal(windows[0, 0, :8, 0], first_row)
    np.testing.assert_array_equal(windows[0, 1, :8, 0], np.add(first_row, 4))
    np.testing.assert_array_equal(windows[0, 2, 0, 0], 32)
    np.testing.assert_array_equal(from_windows(windows, 12, 8, WINDOW), places)


def test_relative_positions_are_differences_of_query_and_key() -> None:
    table = relative_positions(WINDOW)
    assert table.shape == (16, 16)
    assert len(np.unique(table)) == (2 * WINDOW - 1) ** 2
    span = 2 * WINDOW - 1
    for query, key in ((0, 0), (5, 5), (15, 0), (0, 15), (1, 4)):
        rows, columns = query // 4 - key // 4, query % 4 - key % 4
        assert table[query, key] == (rows + 3) * span + columns + 3


def test_the_mask_separates_what_a_move_brought_together() -> None:
    """Against the plain rule: two tokens of a window may meet when they were neighbours."""
    rows, columns = 12, 8
    moved = np.roll(regions(rows, columns), (-2, -2), axis=(0, 1))
    # half windows at opposite edges are apart though the move puts them into one window
    (cut,) = to_windows(jnp.asarray(moved[None, :, :, None], jnp.float32), WINDOW)[..., 0]
    together = np.asarray(cut)[:, :, None] == np.asarray(cut)[:, None, :]
    np.testing.assert_array_equal(
        shift_mask(rows, columns, WINDOW), np.where(together, 0.0, -100.0)
    )


@pytest.mark.parametrize("shifted", [False, True])
def test_no_token_hears_another_region(shifted: bool) -> None:
    """The gradient of one token's output, by region; e^-100 is zero in float32."""
    own = regions(12, 8) if shifted else regions(14, 10)[2:, 2:]

    @quick_jit
    def heard(grid: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
        return jax.grad(lambda g: block(shifted).apply(variables(), g)[0, row, column].sum())(grid)

    for place in ((0, 0), (1, 7), (2, 2), (5, 3), (11, 0), (11, 7)):
        gradient = np.abs(np.asarray(heard(GRID, *place))).sum(axis=-1)
        assert (gradient[1] == 0).all()
        np.testing.assert_array_equal(gradient[0] > 0, own == own[place])


def test_a_grid_of_one_window_is_never_moved() -> None:
    small = GRID[:, :WINDOW, :WINDOW]
    np.testing.assert_array_equal(output(True, small), output(False, small))
    assert np.abs(output(True) - output(False)).max() > 1e-3


def test_attention_is_that_of_the_definition() -> None:
    qkv = RNG.standard_normal((1, 2, 3, 3, HEADS, 5))
    bias = RNG.standard_normal((1, HEADS, 3, 3))
    found = window_attention(jnp.asarray(qkv, jnp.float32), jnp.asarray(bias, jnp.float32))
    for window in range(2):
        for head in range(HEADS):
            query, key, value = (qkv[0, window, :, part, head] for part in range(3))
            weights = np.exp(query @ key.T / 5**0.5 + bias[0, head])
            expected = weights / weights.sum(axis=1, keepdims=True) @ value
            np.testing.assert_allclose(found[0, window, :, head], expected, atol=1e-5)


def test_merging_takes_neighbours_column_after_column() -> None:
    width = 2
    merging = PatchMerging()
    grid = jnp.asarray(RNG.standard_normal((1, 4, 6, width)), jnp.float32)
    shapes = jax.eval_shape(partial(merging.init, jax.random.key(0)), grid)
    identity = drawn(shapes)
    x = np.asarray(grid)
    joined = np.concatenate(
        [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], axis=-1
    )
    centred = joined - joined.mean(axis=-1, keepdims=True)
    normal = centred / np.sqrt(joined.var(axis=-1, keepdims=True) + 1e-5)
    norm = identity["params"]["norm"]
    expected = (normal * norm["scale"] + norm["bias"]) @ identity["params"]["reduction"]["kernel"]
    np.testing.assert_allclose(merging.apply(identity, grid), expected, atol=1e-5)


def test_stochastic_depth_leaves_whole_branches_of_whole_examples_out() -> None:
    rows = 64
    grid = jnp.tile(GRID[:1], (rows, 1, 1, 1))
    dropping = block(shifted=False, drop=0.5)
    train = quick_jit(lambda key: dropping.apply(variables(), grid, True, rngs={"dropout": key}))
    found = np.asarray(train(jax.random.key(0)))
    kinds = {row.round(3).tobytes() for row in found}
    assert len(kinds) == 4  # both branches, one of them, none
    untouched = np.abs(found - np.asarray(grid)).max(axis=(1, 2, 3)) == 0
    assert 0.1 < untouched.mean() < 0.4  # a quarter


def test_stochastic_depth_is_off_in_evaluation_and_at_zero() -> None:
    dropping = block(shifted=False, drop=0.5)
    np.testing.assert_array_equal(quick_jit(dropping.apply)(variables(), GRID), output(False))
    train = partial(block(False).apply, variables(), GRID, True)  # needs no stream
    np.testing.assert_allclose(train(), output(False), atol=1e-6)
