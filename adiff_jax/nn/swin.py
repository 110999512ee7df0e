"""Swin transformer blocks on a grid of tokens (Liu et al., 2021), as HTSAT uses them.

A grid is [b rows columns d]. Attention stays within square windows; every second block moves the
grid by half a window first, and windows that then hold parts of opposite edges are masked.
Windows are cut and joined by reshapes, never by gathers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

Grid = Float[Array, "b rows columns d"]

MASKED = -100.0  # added to scores between regions, as published; softmax leaves e^-100 of them

_init = nn.initializers.truncated_normal(0.02)


def to_windows(grid: Grid, window: int) -> Float[Array, "b w s d"]:
    """Cut a grid into windows, row by row: w = (rows / window) (columns / window), s = window².

    Both sides of the grid must be multiples of `window`.
    """
    b, rows, columns, d = grid.shape
    cut = grid.reshape(b, rows // window, window, columns // window, window, d)
    return cut.swapaxes(2, 3).reshape(b, -1, window * window, d)


def from_windows(
    windows: Float[Array, "b w s d"], rows: int, columns: int, window: int
) -> Float[Array, "b r c d"]:
    """The grid [b rows columns d] that `to_windows` cut."""
    b, d = windows.shape[0], windows.shape[-1]
    cut = windows.reshape(b, rows // window, columns // window, window, window, d)
    return cut.swapaxes(2, 3).reshape(b, rows, columns, d)


@functools.cache
def relative_positions(window: int) -> Int[np.ndarray, "s s"]:
    """Row of the bias table for (query, key): (Δrow + window - 1) (2 window - 1) + (Δcolumn +
    window - 1), differences query minus key."""
    row, column = np.divmod(np.arange(window * window), window)
    rows = row[:, None] - row[None, :] + window - 1
    columns = column[:, None] - column[None, :] + window - 1
    return rows * (2 * window - 1) + columns


@functools.cache
def shift_mask(rows: int, columns: int, window: int) -> Float[np.ndarray, "w s s"]:
    """What is added to the scores of a moved grid: 0 within a region, -100 between two.

    After the move a side falls into three bands, up to the last window, up to half of it, and the
    rest, which came from the opposite edge; a region is a band of rows and a band of columns.
    """

    def bands(size: int) -> np.ndarray:
        index = np.arange(size)
        return (index >= size - window).astype(int) + (index >= size - window // 2)

    regions = 3 * bands(rows)[:, None] + bands(columns)[None, :]
    cut = regions.reshape(rows // window, window, columns // window, window)
    cut = cut.swapaxes(1, 2).reshape(-1, window * window)
    return np.where(cut[:, :, None] == cut[:, None, :], 0.0, MASKED).astype(np.float32)


class SwinBlock(nn.Module):
    """Pre-norm window attention and feed-forward (erf GELU), each added to what came in.

    With `shifted` the windows lie half a window further down and right; on a grid with a side of
    one window there is nowhere to move. `drop` is the probability that a branch is left out for
    a whole example in training (stochastic depth).
    """

    heads: int
    window: int
    hidden: int
    shifted: bool
    drop: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Grid, train: bool = False) -> Grid:
        def branch(y: jax.Array) -> jax.Array:
            drop = nn.Dropout(self.drop, broadcast_dims=(1, 2, 3))
            return drop(y, deterministic=not train)

        x = x + branch(self._attention(nn.LayerNorm(1e-5, dtype=self.dtype, name="norm_1")(x)))
        y = nn.LayerNorm(1e-5, dtype=self.dtype, name="norm_2")(x)
        y = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=_init, name="expand")(y)
        y = nn.gelu(y, approximate=False)
        y = nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=_init, name="contract")(y)
        return x + branch(y)

    def _attention(self, x: jax.Array) -> jax.Array:
        window = self.window
        _, rows, columns, width = x.shape
        moved = window // 2 if self.shifted and min(rows, columns) > window else 0
        if moved:
            x = jnp.roll(x, (-moved, -moved), axis=(1, 2))
        table = self.param("bias_table", _init, ((2 * window - 1) ** 2, self.heads))
        bias = jnp.moveaxis(table[relative_positions(window)], -1, 0)[None]  # [1 h s s]
        if moved:
            bias = bias + shift_mask(rows, columns, window)[:, None]  # [w h s s]
        shape = (3, self.heads, width // self.heads)
        qkv = nn.DenseGeneral(shape, dtype=self.dtype, kernel_init=_init, name="qkv")
        heard = window_attention(qkv(to_windows(x, window)), bias)
        out = nn.DenseGeneral(width, (-2, -1), dtype=self.dtype, kernel_init=_init, name="out")
        x = from_windows(out(heard), rows, columns, window)
        return jnp.roll(x, (moved, moved), axis=(1, 2)) if moved else x


def window_attention(
    qkv: Float[Array, "b w s 3 h k"], bias: Float[Array, "#w h s s"]
) -> Float[Array, "b w s h k"]:
    """softmax(q·k / √k + bias) v within every window, the softmax in float32 or wider.

    Heads go before positions first, and the sum is divided by late: a third of the time on CPU.
    """
    queries, keys, values = jnp.moveaxis(qkv, (3, 4), (0, 3))  # each [b w h s k]
    scores = jnp.einsum("bwhtk,bwhsk->bwhts", queries * qkv.shape[-1] ** -0.5, keys)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32)) + bias
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    heard = jnp.einsum(
        "bwhts,bwhsk->bwhtk",
        weights.astype(values.dtype),
        values,
        preferred_element_type=weights.dtype,
    )
    heard = heard / weights.sum(-1, keepdims=True)
    return jnp.moveaxis(heard.astype(values.dtype), 2, 3)


class PatchMerging(nn.Module):
    """2×2 neighbours of a grid become one token of twice the width."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Grid) -> Float[Array, "b r c e"]:
        b, rows, columns, d = x.shape
        x = x.reshape(b, rows // 2, 2, columns // 2, 2, d)
        # of the four, the column changes last: left upper, left lower, right upper, right lower
        x = x.transpose(0, 1, 3, 4, 2, 5).reshape(b, rows // 2, columns // 2, 4 * d)
        x = nn.LayerNorm(1e-5, dtype=self.dtype, name="norm")(x)
        return nn.Dense(
            2 * d, use_bias=False, dtype=self.dtype, kernel_init=_init, name="reduction"
        )(x)


class SwinStage(nn.Module):
    """Blocks on one grid, every second one moved, and patch merging after them if `merges`.

    `drops` has the stochastic depth of each block.
    """

    heads: int
    window: int
    hidden: int
    drops: tuple[float, ...]
    merges: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.layers = [
            SwinBlock(self.heads, self.window, self.hidden, index % 2 == 1, drop, self.dtype)
            for index, drop in enumerate(self.drops)
        ]
        if self.merges:
            self.merge = PatchMerging(self.dtype)

    def __call__(self, x: Grid, train: bool = False) -> Float[Array, "b r c e"]:
        for layer in self.layers:
            x = layer(x, train)
        return self.merge(x) if self.merges else x
