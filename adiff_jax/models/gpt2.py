"""GPT-2: a pre-norm causal transformer with learned positions and a tied head.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). It reads vectors
[b t d], so that a prefix that is no text can stand before token embeddings; positions count from
the first vector, and everything before a position is seen, prefix included.

Teacher forcing and cached decoding share every parameter. Keys and values of the prefix and of
what follows it are kept apart: a step reads both and rewrites only the second, which is short.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from adiff_jax.arrays import Constrain, NextLogits, Tokens, unconstrained
from adiff_jax.nn.stack import Stack, run_stack


@dataclass(frozen=True)
class Gpt2:
    """Sizes default to the base model. `vocab_size` is a cap: a tokenizer may have fewer ids."""

    layers: int = 12
    heads: int = 12
    width: int = 768
    positions: int = 1024  # prefix, prompt and answer together
    vocab_size: int = 50257
    dropout: float = 0.1  # of embeddings, attention weights and residuals, in training

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"Gpt2.width {self.width} is not divisible by heads {self.heads}")


GPT2_BASE = Gpt2()
GPT2_MEDIUM = Gpt2(layers=24, heads=16, width=1024)
GPT2_LARGE = Gpt2(layers=36, heads=20, width=1280)
GPT2_XL = Gpt2(layers=48, heads=25, width=1600)
GPT2_SMALL_LM = Gpt2(layers=4, heads=4, width=256, positions=512, vocab_size=1024)
"""Small enough to train from nothing on two cores: 3.6 million parameters."""


@struct.dataclass
class KeysValues:
    """Keys and values of one layer, heads before positions, as the products of a step want them."""

    keys: Any  # [b h s k]
    values: Any  # [b h s k]


@struct.dataclass
class Gpt2Cache:
    """State of cached decoding; batch is axis 0 of every leaf."""

    prefix: Any  # a tuple of KeysValues, one a layer, of what `prefill` read
    said: Any  # the same of the tokens since, as long as the capacity
    length: Any  # [b] int32, tokens since the prefix


class Gpt2Module(nn.Module):
    """Vectors [b t d] -> hidden [b t d] -> logits [b t v], at once or one token at a time."""

    config: Gpt2
    dtype: DTypeLike = jnp.float32
    stack: Stack = Stack()
    constrain: Constrain = unconstrained

    def setup(self) -> None:
        config = self.config
        shapes = (config.vocab_size, config.width), (config.positions, config.width)
        self.wte = self.param("wte", nn.initializers.normal(0.02), shapes[0])
        self.wpe = self.param("wpe", nn.initializers.normal(0.01), shapes[1])
        self.layers = [Gpt2Layer(config, self.dtype) for _ in range(config.layers)]
        self.norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        self.drop = nn.Dropout(config.dropout)

    def embed(self, tokens: Tokens) -> Float[Array, "b t d"]:
        """Token embeddings, without positions."""
        return self.wte[tokens].astype(self.dtype)

    def __call__(self, inputs: Float[Array, "b t d"], train: bool = False) -> jax.Array:
        """Hidden states [b t d] after the final norm; row i sees inputs 0 to i.

        Raises ValueError for more inputs than there are positions.
        """
        x = self._placed(inputs, 0)
        x = self.drop(x, deterministic=not train)

        def read(layer: Gpt2Layer, x: jax.Array) -> jax.Array:
            return layer(x, train)[0]

        return self.norm(run_stack(self.stack, self.layers, x, read, self.constrain))

    def logits(self, hidden: Float[Array, "*b d"]) -> Float[Array, "*b v"]:
        """Logits of the next token, float32, by the embedding matrix; slice `hidden` before."""
        return self._head(hidden, "...d,vd->...v")

    def _head(self, hidden: jax.Array, equation: str) -> jax.Array:
        full = jnp.dtype(self.dtype) == jnp.float32
        return jnp.einsum(
            equation,
            hidden.astype(self.dtype),
            self.wte.astype(self.dtype),
            precision=jax.lax.Precision.HIGHEST if full else None,
            preferred_element_type=jnp.float32,
        )

    def prefill(self, inputs: Float[Array, "b s d"], capacity: int) -> tuple[NextLogits, Gpt2Cache]:
        """Read a prefix; logits of the token after it, and a cache with room for `capacity` more.

        Raises ValueError when prefix and capacity together exceed the positions.
        """
        config, rows = self.config, inputs.shape[0]
        x = self._placed(inputs, capacity)
        prefix = []
        for layer in self.layers[:-1]:
            x, seen = layer(x, False)
            prefix.append(seen)
        x, seen = self.layers[-1].last(x)
        prefix.append(seen)
        room = jnp.zeros((rows, config.heads, capacity, config.width // config.heads), self.dtype)
        said = (KeysValues(room, room),) * config.layers
        cache = Gpt2Cache(tuple(prefix), said, jnp.zeros(rows, jnp.int32))
        return self._next_logits(self.norm(x)), cache

    def extend(self, cache: Gpt2Cache, token: Int[Array, " b"]) -> tuple[NextLogits, Gpt2Cache]:
        """Append `token`; logits of the one after it."""
        position = cache.prefix[0].keys.shape[2] + cache.length
        x = (self.wte[token] + self.wpe[position]).astype(self.dtype)
        said = []
        for layer, prefix, before in zip(self.layers, cache.prefix, cache.said, strict=True):
            x, after = layer.step(x, prefix, before, cache.length)
            said.append(after)
        cache = replace(cache, said=tuple(said), length=cache.length + 1)
        return self._next_logits(self.norm(x)), cache

    def _next_logits(self, hidden: Float[Array, "b d"]) -> NextLogits:
        """`logits` of a few rows, whose cost is to read the matrix.

        As matrix times rows, turned afterwards: XLA on CPU computes that twice as fast as rows
        times matrix, and without the barrier writes the one as the other.
        """
        return jax.lax.optimization_barrier(self._head(hidden, "bd,vd->vb")).T

    def _placed(self, inputs: jax.Array, capacity: int) -> jax.Array:
        """Inputs with positions 0, 1, ... added."""
        length = inputs.shape[1]
        if length + capacity > self.config.positions:
            raise ValueError(
                f"{length} vectors and room for {capacity} more exceed Gpt2.positions "
                f"({self.config.positions}): shorten the text (max_tokens) or the prefix"
            )
        return inputs.astype(self.dtype) + self.wpe[:length].astype(self.dtype)


class Gpt2Layer(nn.Module):
    """Norm, self-attention, residual; norm, feed-forward with tanh GELU, residual."""

    config: Gpt2
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        config, dtype = self.config, self.dtype
        shape = (config.heads, config.width // config.heads)
        init = nn.initializers.normal(0.02)
        # Each layer adds to the residuals twice; their sum keeps its size (section 2.3).
        last = nn.initializers.normal(0.02 * (2 * config.layers) ** -0.5)
        self.norm_1 = nn.LayerNorm(epsilon=1e-5, dtype=dtype)
        self.qkv = nn.DenseGeneral((3, *shape), dtype=dtype, kernel_init=init)
        self.out = nn.DenseGeneral(config.width, axis=(-2, -1), dtype=dtype, kernel_init=last)
        self.norm_2 = nn.LayerNorm(epsilon=1e-5, dtype=dtype)
        self.expand = nn.Dense(4 * config.width, dtype=dtype, kernel_init=init)
        self.contract = nn.Dense(config.width, dtype=dtype, kernel_init=last)
        self.drop = nn.Dropout(config.dropout)

    def __call__(
        self, x: Float[Array, "b t d"], train: bool
    ) -> tuple[Float[Array, "b t d"], KeysValues]:
        """All positions at once, each seeing itself and what is before it."""
        length = x.shape[1]
        queries, keys, values = jnp.moveaxis(self.qkv(self.norm_1(x)), (2, 3), (0, 2))
        scores = jnp.einsum("bhtk,bhsk->bhts", queries, keys, preferred_element_type=jnp.float32)
        causal = jnp.tril(jnp.ones((length, length), bool))
        weights = self.drop(self._softmax(scores, causal), deterministic=not train)
        attended = jnp.einsum("bhts,bhsk->bthk", weights, values)
        x = x + self.drop(self.out(attended), deterministic=not train)
        x = x + self.drop(self._feed_forward(x), deterministic=not train)
        return x, KeysValues(keys, values)

    def last(self, x: Float[Array, "b t d"]) -> tuple[Float[Array, "b d"], KeysValues]:
        """The same for the last position only; keys and values of all."""
        queries, keys, values = jnp.moveaxis(self.qkv(self.norm_1(x)), (2, 3), (0, 2))
        seen = KeysValues(keys, values)
        everything = jnp.ones((1, x.shape[1]), bool)
        return self._attend(x[:, -1], queries[:, :, -1], (seen,), everything), seen

    def step(
        self,
        x: Float[Array, "b d"],
        prefix: KeysValues,
        said: KeysValues,
        length: Int[Array, " b"],
    ) -> tuple[Float[Array, "b d"], KeysValues]:
        """One token; `said` is updated at place `length` of each row."""
        queries, keys, values = jnp.moveaxis(self.qkv(self.norm_1(x)), 1, 0)
        index = jnp.arange(said.keys.shape[2])
        here = (index == length[:, None])[:, None, :, None]
        said = KeysValues(
            jnp.where(here, keys[:, :, None], said.keys),
            jnp.where(here, values[:, :, None], said.values),
        )
        read = prefix.keys.shape[2]
        seen = jnp.arange(read + index.size) <= read + length[:, None]
        return self._attend(x, queries, (prefix, said), seen), said

    def _attend(
        self,
        x: Float[Array, "b d"],
        queries: Float[Array, "b h k"],
        parts: tuple[KeysValues, ...],
        seen: Bool[Array, "#b s"],
    ) -> Float[Array, "b d"]:
        """The layer at one position a row, which reads all of `parts` that is `seen`."""
        scores = [
            jnp.einsum("bhk,bhsk->bhs", queries, part.keys, preferred_element_type=jnp.float32)
            for part in parts
        ]
        weights = self._softmax(jnp.concatenate(scores, axis=-1), seen[:, None])
        ends = np.cumsum([part.keys.shape[2] for part in parts])[:-1]
        attended = sum(
            jnp.einsum("bhs,bhsk->bhk", share, part.values)
            for share, part in zip(jnp.split(weights, ends, axis=-1), parts, strict=True)
        )
        x = x + self.out(attended)
        return x + self._feed_forward(x)

    def _softmax(self, scores: jax.Array, mask: jax.Array) -> jax.Array:
        """Attention weights from scores before scaling, over the last axis; in float32."""
        scale = (self.config.width // self.config.heads) ** -0.5
        scores = jnp.where(mask, scores * scale, jnp.finfo(scores.dtype).min)
        return jax.nn.softmax(scores, axis=-1).astype(self.dtype)

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        return self.contract(nn.gelu(self.expand(self.norm_2(x)), approximate=True))
