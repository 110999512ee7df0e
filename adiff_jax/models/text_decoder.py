"""A small post-norm transformer decoder that reads a memory: the decoder of ADC-SDD and CL4AC.

Embedding · √d + sinusoidal positions, causal self-attention, cross-attention over the memory,
untied output layer. Teacher forcing and cached decoding share every parameter.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from adiff_jax.arrays import Constrain, Logits, NextLogits, Tokens, unconstrained
from adiff_jax.nn.attention import KeysValues
from adiff_jax.nn.stack import Stack, run_stack
from adiff_jax.nn.transformer import DecoderLayer, sinusoidal_positions


@dataclass(frozen=True)
class TextDecoder:
    """Sizes default to the `small` preset of ADC-SDD."""

    layers: int = 1
    width: int = 256
    heads: int = 4
    hidden: int = 512  # feed-forward
    dropout: float = 0.1
    start_id: int = 1  # <sos>
    end_id: int = 2  # <eos>


@struct.dataclass
class DecoderCache:
    """State of cached decoding; batch is axis 0 of every leaf."""

    past: Any  # a tuple of KeysValues, one a layer, [b capacity + 1 h k]
    memory: Any  # a tuple of KeysValues, one a layer, [b s h k]
    memory_mask: Any  # [b s] bool
    position: Any  # [b] int32, where the next token goes


class TextDecoderModule(nn.Module):
    """Predicts tokens from a memory [b s d] and its mask [b s]."""

    config: TextDecoder
    vocab_size: int
    dtype: DTypeLike = jnp.float32
    stack: Stack = Stack()
    constrain: Constrain = unconstrained

    def setup(self) -> None:
        config = self.config
        self.embedding = nn.Embed(
            self.vocab_size,
            config.width,
            dtype=self.dtype,
            embedding_init=nn.initializers.normal(config.width**-0.5),
        )
        self.blocks = [
            DecoderLayer(config.width, config.heads, config.hidden, config.dropout, self.dtype)
            for _ in range(config.layers)
        ]
        self.drop = nn.Dropout(config.dropout)
        # Final logits are float32 at highest precision, whatever the compute dtype.
        self.output = nn.Dense(
            self.vocab_size,
            dtype=jnp.float32,
            precision=jax.lax.Precision.HIGHEST,
            kernel_init=nn.initializers.xavier_uniform(),
        )

    def __call__(
        self,
        memory: Float[Array, "b s d"],
        memory_mask: Bool[Array, "b s"],
        tokens: Tokens,
        train: bool = False,
    ) -> Logits:
        """Teacher forcing: `logits[:, i]` predicts `tokens[:, i]` from those before it."""
        return self.output(self.hidden(memory, memory_mask, tokens, train))

    def hidden(
        self,
        memory: Float[Array, "b s d"],
        memory_mask: Bool[Array, "b s"],
        tokens: Tokens,
        train: bool = False,
    ) -> Float[Array, "b t d"]:
        """What `output` makes logits of: state i has read the start and the tokens before i."""
        start = jnp.full((tokens.shape[0], 1), self.config.start_id, tokens.dtype)
        x = self._embed(jnp.concatenate([start, tokens[:, :-1]], axis=1))
        x = x + sinusoidal_positions(tokens.shape[1], self.config.width).astype(self.dtype)
        x = self.drop(x, deterministic=not train)

        def read(block: DecoderLayer, x: jax.Array) -> jax.Array:
            return block(x, block.remember(memory), memory_mask, train)

        return run_stack(self.stack, self.blocks, x, read, self.constrain)

    def prefill(
        self, memory: Float[Array, "b s d"], memory_mask: Bool[Array, "b s"], capacity: int
    ) -> tuple[NextLogits, DecoderCache]:
        """Read the start token; the cache has room for it and `capacity` more."""
        rows = memory.shape[0]
        heads = self.config.heads
        shape = (rows, capacity + 1, heads, self.config.width // heads)
        empty = KeysValues(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
        cache = DecoderCache(
            past=tuple(empty for _ in self.blocks),
            memory=tuple(block.remember(memory) for block in self.blocks),
            memory_mask=memory_mask,
            position=jnp.zeros((rows,), jnp.int32),
        )
        return self.extend(cache, jnp.full((rows,), self.config.start_id, jnp.int32))

    def extend(self, cache: DecoderCache, token: jax.Array) -> tuple[NextLogits, DecoderCache]:
        """Append `token` [b]; logits [b v] of the one after it."""
        capacity = cache.past[0].keys.shape[1]
        positions = jnp.asarray(sinusoidal_positions(capacity, self.config.width), self.dtype)
        x = self._embed(token[:, None]) + positions[cache.position][:, None]
        past = []
        for block, before, memory in zip(self.blocks, cache.past, cache.memory, strict=True):
            x, after = block.step(x, before, cache.position, memory, cache.memory_mask)
            past.append(after)
        cache = replace(cache, past=tuple(past), position=cache.position + 1)
        return self.output(x)[:, 0], cache

    def _embed(self, tokens: Tokens) -> jax.Array:
        scale = jnp.asarray(self.config.width**0.5, self.dtype)
        return self.embedding(tokens) * scale
