"""Multi-head attention over boolean masks, with keys and values that can be kept.

Projections are layers, the attention itself two einsums; the softmax runs in float32 or wider.
A query that may attend nowhere yields zeros before the output projection, never NaN.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

Heads = Float[Array, "b s h k"]


@struct.dataclass
class KeysValues:
    """Projected keys and values."""

    keys: Any  # [b s h k]
    values: Any  # [b s h k]


def attention_weights(
    queries: Float[Array, "b t h k"], keys: Heads, mask: Bool[Array, "#b 1 #t s"]
) -> Float[Array, "b h t s"]:
    """softmax(q·k / √k) over the allowed keys, at least float32; zero where nothing is allowed."""
    scores = jnp.einsum("bthk,bshk->bhts", queries, keys)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    scores = scores * (queries.shape[-1] ** -0.5)
    scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jnp.where(mask, jax.nn.softmax(scores, axis=-1), 0.0)


class MultiHeadAttention(nn.Module):
    """Attention with separate projections of queries, keys and values (all with bias).

    The weights are sown as `intermediates/.../weights` for plots and tests.
    """

    width: int
    heads: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")
        shape = (self.heads, self.width // self.heads)
        init = nn.initializers.xavier_uniform()
        self.query = nn.DenseGeneral(shape, dtype=self.dtype, kernel_init=init)
        self.key = nn.DenseGeneral(shape, dtype=self.dtype, kernel_init=init)
        self.value = nn.DenseGeneral(shape, dtype=self.dtype, kernel_init=init)
        self.out = nn.DenseGeneral(self.width, axis=(-2, -1), dtype=self.dtype, kernel_init=init)
        self.drop = nn.Dropout(self.dropout)

    def project(self, source: Float[Array, "b s d"]) -> KeysValues:
        """Keys and values of `source`."""
        return KeysValues(self.key(source), self.value(source))

    def attend(
        self,
        x: Float[Array, "b t d"],
        source: KeysValues,
        mask: Bool[Array, "#b 1 #t s"],
        train: bool = False,
    ) -> Float[Array, "b t d"]:
        """Attention of `x` over projected `source` where `mask` is True."""
        weights = attention_weights(self.query(x), source.keys, mask)
        self.sow("intermediates", "weights", weights)
        weights = self.drop(weights, deterministic=not train).astype(self.dtype)
        return self.out(jnp.einsum("bhts,bshk->bthk", weights, source.values))

    def __call__(
        self,
        x: Float[Array, "b t d"],
        source: Float[Array, "b s d"],
        mask: Bool[Array, "#b 1 #t s"],
        train: bool = False,
    ) -> Float[Array, "b t d"]:
        return self.attend(x, self.project(source), mask, train)
