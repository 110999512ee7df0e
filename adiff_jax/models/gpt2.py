"""GPT-2: a pre-norm causal transformer with learned positions and a tied head.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). It reads vectors
[b t d], so that a prefix that is no text can stand before token embeddings; positions count from
the first vector, and everything before a position is seen, prefix included.

Teacher forcing and cached decoding share every parameter. In the cache, keys and values are
[b s h k] with one room for every position, so a step writes one of them and reads all.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from adiff_jax.arrays import NextLogits, Tokens
from adiff_jax.nn.attention import KeysValues


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
class Gpt2Cache:
    """State of cached decoding; batch is axis 0 of every leaf."""

    past: Any  # a tuple of KeysValues, one a layer, [b s h k]
    position: Any  # [b] int32, where the next token goes


class Gpt2Module(nn.Module):
    """Vectors [b t d] -> hidden [b t d] -> logits [b t v], at once or one token at a time."""

    config: Gpt2
    dtype: DTypeLike = jnp.float32

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
        for layer in self.layers:
            x, _ = layer(x, train)
        return self.norm(x)

    def logits(self, hidden: Float[Array, "*b d"]) -> Float[Array, "*b v"]:
        """Logits of the next token, float32, by the embedding matrix; slice `hidden` before."""
        full = jnp.dtype(self.dtype) == jnp.float32
        return jnp.einsum(
            "...d,vd->...v",
            hidden.astype(self.dtype),
            self.wte.astype(self.dtype),
            precision=jax.lax.Precision.HIGHEST if full else None,
            preferred_element_type=jnp.float32,
        )

    def prefill(self, inputs: Float[Array, "b s d"], capacity: int) -> tuple[NextLogits, Gpt2Cache]:
        """Read a prefix; logits of the token after it, and a cache with room for `capacity` more.

        Raises ValueError when prefix and capacity together exceed the positions.
        """
        x = self._placed(inputs, capacity)
        past = []
        for layer in self.layers:
            x, seen = layer(x, False)
            room = (0, 0), (0, capacity), (0, 0), (0, 0)
            past.append(jax.tree.map(lambda leaf, room=room: jnp.pad(leaf, room), seen))
        position = jnp.full((inputs.shape[0],), inputs.shape[1], jnp.int32)
        return self.logits(self.norm(x[:, -1])), Gpt2Cache(tuple(past), position)

    def extend(self, cache: Gpt2Cache, token: Int[Array, " b"]) -> tuple[NextLogits, Gpt2Cache]:
        """Append `token`; logits of the one after it."""
        x = (self.wte[token] + self.wpe[cache.position]).astype(self.dtype)
        past = []
        for layer, before in zip(self.layers, cache.past, strict=True):
            x, after = layer.step(x, before, cache.position)
            past.append(after)
        cache = replace(cache, past=tuple(past), position=cache.position + 1)
        return self.logits(self.norm(x)), cache

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
        queries, keys, values = jnp.moveaxis(self.qkv(self.norm_1(x)), 2, 0)
        scores = jnp.einsum("bthk,bshk->bhts", queries, keys, preferred_element_type=jnp.float32)
        causal = jnp.tril(jnp.ones((length, length), bool))
        weights = self.drop(self._softmax(scores, causal), deterministic=not train)
        attended = jnp.einsum("bhts,bshk->bthk", weights, values)
        x = x + self.drop(self.out(attended), deterministic=not train)
        x = x + self.drop(self._feed_forward(x), deterministic=not train)
        return x, KeysValues(keys, values)

    def step(
        self, x: Float[Array, "b d"], past: KeysValues, position: Int[Array, " b"]
    ) -> tuple[Float[Array, "b d"], KeysValues]:
        """One token at `position` of each row; `past` [b s h k] is updated there."""
        queries, keys, values = jnp.moveaxis(self.qkv(self.norm_1(x)), 1, 0)
        index = jnp.arange(past.keys.shape[1])[None]
        here = (index == position[:, None])[:, :, None, None]
        past = KeysValues(
            jnp.where(here, keys[:, None], past.keys),
            jnp.where(here, values[:, None], past.values),
        )
        scores = jnp.einsum("bhk,bshk->bhs", queries, past.keys, preferred_element_type=jnp.float32)
        weights = self._softmax(scores, (index <= position[:, None])[:, None])
        x = x + self.out(jnp.einsum("bhs,bshk->bhk", weights, past.values))
        return x + self._feed_forward(x), past

    def _softmax(self, scores: jax.Array, mask: jax.Array) -> jax.Array:
        """Attention weights from scores before scaling, over the last axis; in float32."""
        scale = (self.config.width // self.config.heads) ** -0.5
        scores = jnp.where(mask, scores * scale, jnp.finfo(scores.dtype).min)
        return jax.nn.softmax(scores, axis=-1).astype(self.dtype)

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        return self.contract(nn.gelu(self.expand(self.norm_2(x)), approximate=True))
