"""A 3×3 convolution in half the products, for processors that multiply no faster than they add.

Winograd's F(4, 3) (Lavin and Gray, 2016) along frames: six combinations of frames stand for four
outputs of three taps each, so that six products do for twelve. Combining costs memory traffic that
accelerators lack, and in training its gradients: both keep the plain form.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# outputs = _OUT @ ((_TAPS @ kernel) * (_IN @ frames))
_IN = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_TAPS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_OUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)


def by_fours(
    x: Float[Array, "b f m c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "b f m d"]:
    """The "SAME" convolution, four frames at a time; float32."""
    rows, frames, mels, _ = x.shape
    groups = -(-frames // 4)
    x = jnp.pad(x, ((0, 0), (1, 4 * groups + 1 - frames), (0, 0), (0, 0)))
    taps = jnp.einsum("ia,abcd->ibcd", _TAPS.astype(np.float32), kernel, precision="highest")
    shifted = [x[:, i : i + 4 * groups - 3 : 4] for i in range(6)]
    products = [
        plain(combined, tap[None])
        for combined, tap in zip(_combine(_IN, shifted), taps, strict=True)
    ]
    y = jnp.stack(_combine(_OUT, products), axis=2)
    return y.reshape(rows, 4 * groups, mels, -1)[:, :frames]


def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The "SAME" convolution of [b f m c] as XLA has it."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def evaluated(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """For `nn.Conv(conv_general_dilated=...)` of 3×3, stride 1: by fours where that is faster."""
    if x.dtype != jnp.float32:  # its coefficients would cost bfloat16 what precision it has
        return plain(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=by_fours, default=plain)


def _combine(matrix: np.ndarray, parts: list[jax.Array]) -> list[Any]:
    return [sum(float(c) * part for c, part in zip(row, parts, strict=True) if c) for row in matrix]
