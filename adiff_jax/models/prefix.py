"""From clip embeddings and a prompt to the prefix that a language model reads (ADIFF).

Deshmukh et al., ICLR 2025 (arXiv 2502.04476), after ClipCap's mapper. Each clip embedding passes a
shared `ProjectionHead`, is scaled to unit length and becomes `tokens` vectors by a mapper of its
own; the prompt has a mapper too. Cross-projection is a transformer over
[clip 1 | separator | clip 2 | prompt]; the naive baseline leaves separator and transformer out.

Every transformer here is pre-norm with ReLU and full attention, no positions, no final norm and no
dropout; queries, keys and values are without bias.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from adiff_jax.arrays import Constrain, unconstrained
from adiff_jax.nn.attention import attention_weights
from adiff_jax.nn.stack import Stack, run_stack

Vectors = Float[Array, "b s d"]


@dataclass(frozen=True)
class Projection:
    """The head that both clips share; `width` is that of the projected embedding."""

    width: int = 1024
    dropout: float = 0.5


@dataclass(frozen=True)
class Mappers:
    """`tokens` vectors for each clip and for the prompt."""

    tokens: int = 40
    audio_layers: int = 4
    text_layers: int = 4
    heads: int = 8
    mlp_ratio: int = 2


@dataclass(frozen=True)
class CrossProjection:
    """Self-attention over the whole prefix."""

    layers: int = 4
    heads: int = 4
    mlp_ratio: int = 2


_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's for a Linear


def _bias(fan_in: int) -> Callable[..., jax.Array]:
    """PyTorch's initial bias of a Linear: uniform within 1 / sqrt(fan_in)."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def unit_length(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """`x` divided by its Euclidean norm, in float32; a zero vector stays zero, gradient too."""
    x = x.astype(jnp.float32)
    square = (x * x).sum(axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.where(square == 0, 1.0, square))
    return jnp.where(square == 0, 0.0, x * scale)


class ProjectionHead(nn.Module):
    """LayerNorm(e1 + Dropout(W2 gelu(e1))), e1 = W1 x; on [... d] of any width."""

    config: Projection
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], train: bool = False) -> Float[Array, "*b d"]:
        width, init = self.config.width, nn.initializers.xavier_uniform()

        def linear(name: str) -> nn.Dense:
            return nn.Dense(width, use_bias=False, dtype=self.dtype, kernel_init=init, name=name)

        first = linear("linear_1")(x)
        second = linear("linear_2")(nn.gelu(first, approximate=False))
        second = nn.Dropout(self.config.dropout)(second, deterministic=not train)
        return nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="norm")(first + second)


class PrefixLayer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), over vectors where `mask` is True."""

    heads: int
    mlp_ratio: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Vectors, mask: Bool[Array, "#b s"]) -> Vectors:
        width, dtype = x.shape[-1], self.dtype
        if width % self.heads:
            raise ValueError(f"width {width} is not divisible by heads {self.heads}")
        shape = (self.heads, width // self.heads)
        normed = nn.LayerNorm(epsilon=1e-5, dtype=dtype, name="norm_1")(x)
        queries = nn.DenseGeneral(
            shape, use_bias=False, dtype=dtype, kernel_init=_kernel, name="query"
        )(normed)
        keys_values = nn.DenseGeneral(
            (2, *shape), use_bias=False, dtype=dtype, kernel_init=_kernel, name="key_value"
        )(normed)
        keys, values = keys_values[:, :, 0], keys_values[:, :, 1]
        weights = attention_weights(queries, keys, mask[:, None, None, :])
        attended = jnp.einsum("bhts,bshk->bthk", weights.astype(dtype), values)
        x = x + nn.DenseGeneral(
            width,
            axis=(-2, -1),
            dtype=dtype,
            kernel_init=_kernel,
            bias_init=_bias(width),
            name="out",
        )(attended)
        normed = nn.LayerNorm(epsilon=1e-5, dtype=dtype, name="norm_2")(x)
        hidden = nn.relu(self._dense(self.mlp_ratio * width, width, "expand")(normed))
        return x + self._dense(width, self.mlp_ratio * width, "contract")(hidden)

    def _dense(self, width: int, fan_in: int, name: str) -> nn.Dense:
        return nn.Dense(
            width, dtype=self.dtype, kernel_init=_kernel, bias_init=_bias(fan_in), name=name
        )


class PrefixTransformer(nn.Module):
    """`layers` of `PrefixLayer` over [b s d]."""

    layers: int
    heads: int
    mlp_ratio: int
    dtype: DTypeLike = jnp.float32
    stack: Stack = Stack()
    constrain: Constrain = unconstrained

    @nn.compact
    def __call__(self, x: Vectors, mask: Bool[Array, "#b s"]) -> Vectors:
        layers = [
            PrefixLayer(self.heads, self.mlp_ratio, self.dtype, name=f"layers_{number}")
            for number in range(self.layers)
        ]
        return run_stack(self.stack, layers, x, lambda layer, x: layer(x, mask), self.constrain)


class AudioMapper(nn.Module):
    """One embedding [b c] -> `config.tokens` vectors [b tokens width]."""

    config: Mappers
    width: int
    dtype: DTypeLike = jnp.float32
    stack: Stack = Stack()
    constrain: Constrain = unconstrained

    @nn.compact
    def __call__(self, x: Float[Array, "b c"]) -> Vectors:
        tokens = self.config.tokens
        expanded = nn.Dense(
            tokens * self.width,
            dtype=self.dtype,
            kernel_init=_kernel,
            bias_init=_bias(x.shape[-1]),
            name="expand",
        )(x)
        expanded = expanded.reshape(x.shape[0], tokens, self.width)
        mask = jnp.ones((1, tokens), bool)
        return _learned(self, self.config, self.config.audio_layers, expanded, mask)


class TextMapper(nn.Module):
    """Embedded prompt [b p width] -> `config.tokens` vectors; masked pads are not attended."""

    config: Mappers
    dtype: DTypeLike = jnp.float32
    stack: Stack = Stack()
    constrain: Constrain = unconstrained

    @nn.compact
    def __call__(self, prompt: Float[Array, "b p d"], mask: Bool[Array, "b p"]) -> Vectors:
        return _learned(self, self.config, self.config.text_layers, prompt, mask)


def _learned(
    module: AudioMapper | TextMapper,
    config: Mappers,
    layers: int,
    given: Float[Array, "b p d"],
    mask: Bool[Array, "#b p"],
) -> Vectors:
    """The learned constants after a transformer has let them look at what is `given`."""
    shape = (config.tokens, given.shape[-1])
    constants: jax.Array = module.param("constants", nn.initializers.normal(1.0), shape)
    constants = jnp.broadcast_to(constants, (given.shape[0], *shape)).astype(module.dtype)
    both = jnp.concatenate([given.astype(module.dtype), constants], axis=1)
    seen = jnp.concatenate([mask, jnp.ones((mask.shape[0], config.tokens), bool)], axis=1)
    transformer = PrefixTransformer(
        layers,
        config.heads,
        config.mlp_ratio,
        module.dtype,
        module.stack,
        module.constrain,
        name="transformer",
    )
    return transformer(both, seen)[:, given.shape[1] :]
