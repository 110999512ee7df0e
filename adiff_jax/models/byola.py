"""BYOL-A encoders: three forms of one idea, log-mel in, frames out.

Niizumi et al., "BYOL for Audio" (2021, 2022): a short stack of 3×3 convolutions and a two-layer
network on every remaining frame, mel bands and channels flattened together. Features [b f m c] are
normalised log-mel, c input channels; the output is [b t d], t = f // stride, with its mask.

`ByolA` is AudioNTT2020Task6 (any width), `ByolA2` AudioNTT2022, `StridedByolA` our form for CPUs:
strided convolutions in place of pooling, at a 20 ms hop.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from adiff_jax.arrays import Features, Frames, Lengths
from adiff_jax.audio.frontends import BYOLA, LogMel


@dataclass(frozen=True)
class ByolA:
    """AudioNTT2020Task6: three pooled convolutions of 64 channels, then Dense(d) twice."""

    width: int = 2048
    channels: int = 1  # input channels; 2 when the clips' log-mel difference is the second
    dropout: float = 0.3
    frontend: LogMel = BYOLA
    mean: float = -5.0  # of the log-mel over the training split
    std: float = 4.5
    freeze_batch_norm: bool = False  # keep the running statistics; for batches below 16
    stride: ClassVar[int] = 8  # frames of log-mel in one output frame


@dataclass(frozen=True)
class ByolA2:
    """AudioNTT2022: two pooled convolutions; their flat output is kept beside the network's."""

    hidden: int = 2048
    channels: int = 1
    dropout: float = 0.3
    frontend: LogMel = BYOLA
    mean: float = -5.0
    std: float = 4.5
    freeze_batch_norm: bool = False
    stride: ClassVar[int] = 4


@dataclass(frozen=True)
class StridedByolA:
    """The CPU form: a 5×5 stem and two 3×3 convolutions, all with stride 2, at a 20 ms hop."""

    width: int = 256
    filters: tuple[int, int, int] = (32, 64, 128)
    channels: int = 1
    dropout: float = 0.1
    frontend: LogMel = LogMel(hop=320)
    mean: float = -5.0
    std: float = 4.5
    freeze_batch_norm: bool = False
    stride: ClassVar[int] = 8


def max_pool(x: jax.Array) -> jax.Array:
    """2×2 maximum over axes 1 and 2 of [b f m c], odd edges dropped."""
    rows, frames, mels, channels = x.shape
    x = x[:, : frames // 2 * 2, : mels // 2 * 2]
    return x.reshape(rows, frames // 2, 2, mels // 2, 2, channels).max(axis=(2, 4))


class FrameNetwork(nn.Module):
    """Dense ReLU Dropout Dense ReLU on every frame."""

    width: int
    dropout: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b f c"], train: bool) -> Frames:
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="dense_1")(x))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.relu(nn.Dense(self.width, dtype=self.dtype, name="dense_2")(x))


class ByolAEncoder(nn.Module):
    """Any of the three configurations; see the module docstring for shapes."""

    config: ByolA | ByolA2 | StridedByolA
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, features: Features, lengths: Lengths, train: bool = False
    ) -> tuple[Float[Array, "b t d"], Bool[Array, "b t"]]:
        """features [b f m c], valid frames [b] -> frames [b t d], mask [b t].

        The mask keeps the output frames whose pooling window is filled with valid frames, and at
        least one frame of any clip that has one.
        """
        config = self.config
        match config:
            case ByolA():
                x = self._pooled(features, lengths, 3, train)
            case ByolA2():
                x = self._pooled(features, lengths, 2, train)
            case StridedByolA():
                x = self._strided(features, lengths, config.filters, train)
        flat = x.reshape(*x.shape[:2], -1)  # mel-major: index = mel * channels + channel
        width = config.hidden if isinstance(config, ByolA2) else config.width
        frames = FrameNetwork(width, config.dropout, self.dtype, name="network")(flat, train)
        if isinstance(config, ByolA2):
            frames = jnp.concatenate([flat, frames], axis=-1)
        valid = jnp.where(lengths > 0, jnp.maximum(lengths // config.stride, 1), 0)
        return frames, jnp.arange(frames.shape[1])[None] < valid[:, None]

    def _pooled(self, x: jax.Array, lengths: jax.Array, blocks: int, train: bool) -> jax.Array:
        for block in range(1, blocks + 1):
            x = blank_padding(x, lengths)
            x = nn.Conv(64, (3, 3), dtype=self.dtype, name=f"conv_{block}")(x)
            x = max_pool(nn.relu(self._norm(x, lengths, block, train)))
            lengths = halved(lengths)
        return x

    def _strided(
        self, x: jax.Array, lengths: jax.Array, filters: tuple[int, ...], train: bool
    ) -> jax.Array:
        for block, size in enumerate(filters, start=1):
            kernel = 5 if block == 1 else 3
            left = halved(lengths)
            # an odd last frame is dropped, unless it is the only one
            heard = jnp.minimum(lengths, 2 * left)
            x, lengths = blank_padding(x[:, : x.shape[1] // 2 * 2], heard), left
            x = nn.Conv(
                size,
                (kernel, kernel),
                strides=2,
                padding=[(kernel // 2, kernel // 2)] * 2,
                use_bias=False,
                dtype=self.dtype,
                name=f"conv_{block}",
            )(x)
            x = nn.relu(self._norm(x, lengths, block, train))
        return x

    def _norm(self, x: jax.Array, lengths: jax.Array, block: int, train: bool) -> jax.Array:
        norm = nn.BatchNorm(
            use_running_average=not train or self.config.freeze_batch_norm,
            momentum=0.9,  # PyTorch's 0.1
            epsilon=1e-5,
            dtype=self.dtype,
            name=f"norm_{block}",
        )
        return norm(x, mask=valid_frames(x, lengths))


def halved(lengths: jax.Array) -> jax.Array:
    """Valid frames after a stride of 2; a clip that has any keeps one, so that it is heard."""
    return jnp.where(lengths > 0, jnp.maximum(lengths // 2, 1), 0)


def valid_frames(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """[b f 1 1], True within each row's length."""
    return (jnp.arange(x.shape[1])[None] < lengths[:, None])[:, :, None, None]


def blank_padding(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """Zero the frames past each row's length, as a convolution's own padding would be."""
    return jnp.where(valid_frames(x, lengths), x, 0.0)
