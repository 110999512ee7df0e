"""Post-norm transformer layers (Vaswani et al., 2017) as used by ADC-SDD and CL4AC.

ReLU feed-forward, LayerNorm eps 1e-5, no final norm: PyTorch's `nn.TransformerEncoderLayer` and
`nn.TransformerDecoderLayer` with their defaults. The decoder layer also runs one token at a time
over an explicit cache.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from adiff_jax.nn.attention import KeysValues, MultiHeadAttention


def sinusoidal_positions(length: int, width: int) -> Float[np.ndarray, "length width"]:
    """Sine and cosine positions, interleaved: even columns sine, odd columns cosine."""
    position = np.arange(length)[:, None]
    rate = np.exp(-np.log(10000.0) * np.arange(0, width, 2) / width)
    table = np.zeros((length, width), np.float32)
    table[:, 0::2] = np.sin(position * rate)
    table[:, 1::2] = np.cos(position * rate[: width // 2])
    return table


class FeedForward(nn.Module):
    """Dense(hidden) ReLU Dropout Dense(width)."""

    width: int
    hidden: int
    dropout: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"], train: bool) -> Float[Array, "*b d"]:
        init = nn.initializers.xavier_uniform()
        x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=init, name="expand")(x)
        x = nn.Dropout(self.dropout)(nn.relu(x), deterministic=not train)
        return nn.Dense(self.width, dtype=self.dtype, kernel_init=init, name="contract")(x)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each followed by residual and LayerNorm."""

    width: int
    heads: int
    hidden: int
    dropout: float
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.attention = MultiHeadAttention(self.width, self.heads, self.dropout, self.dtype)
        self.feed_forward = FeedForward(self.width, self.hidden, self.dropout, self.dtype)
        self.norm_1 = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        self.norm_2 = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, x: Float[Array, "b s d"], mask: Bool[Array, "#b 1 s s"], train: bool = False
    ) -> Float[Array, "b s d"]:
        attended = self.attention(x, x, mask, train)
        x = self.norm_1(x + self.drop(attended, deterministic=not train))
        return self.norm_2(x + self.drop(self.feed_forward(x, train), deterministic=not train))


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention over a memory, feed-forward."""

    width: int
    heads: int
    hidden: int
    dropout: float
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.self_attention = MultiHeadAttention(self.width, self.heads, self.dropout, self.dtype)
        self.cross_attention = MultiHeadAttention(self.width, self.heads, self.dropout, self.dtype)
        self.feed_forward = FeedForward(self.width, self.hidden, self.dropout, self.dtype)
        self.norm_1 = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        self.norm_2 = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        self.norm_3 = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def remember(self, memory: Float[Array, "b s d"]) -> KeysValues:
        """Keys and values of the memory, computed once per example."""
        return self.cross_attention.project(memory)

    def __call__(
        self,
        x: Float[Array, "b t d"],
        memory: KeysValues,
        memory_mask: Bool[Array, "b s"],
        train: bool = False,
    ) -> Float[Array, "b t d"]:
        length = x.shape[1]
        causal = jnp.tril(jnp.ones((length, length), bool))[None, None]
        attended = self.self_attention(x, x, causal, train)
        return self._rest(x, attended, memory, memory_mask, train)

    def step(
        self,
        x: Float[Array, "b 1 d"],
        past: KeysValues,
        position: Int[Array, " b"],
        memory: KeysValues,
        memory_mask: Bool[Array, "b s"],
    ) -> tuple[Float[Array, "b 1 d"], KeysValues]:
        """One token at `position` of each row; `past` [b capacity h k] is updated there."""
        new = self.self_attention.project(x)
        here = jnp.arange(past.keys.shape[1])[None] == position[:, None]
        past = KeysValues(
            jnp.where(here[:, :, None, None], new.keys, past.keys),
            jnp.where(here[:, :, None, None], new.values, past.values),
        )
        seen = jnp.arange(past.keys.shape[1])[None] <= position[:, None]
        attended = self.self_attention.attend(x, past, seen[:, None, None, :])
        return self._rest(x, attended, memory, memory_mask, train=False), past

    def _rest(
        self,
        x: jax.Array,
        attended: jax.Array,
        memory: KeysValues,
        memory_mask: jax.Array,
        train: bool,
    ) -> jax.Array:
        x = self.norm_1(x + self.drop(attended, deterministic=not train))
        crossed = self.cross_attention.attend(x, memory, memory_mask[:, None, None, :], train)
        x = self.norm_2(x + self.drop(crossed, deterministic=not train))
        return self.norm_3(x + self.drop(self.feed_forward(x, train), deterministic=not train))
