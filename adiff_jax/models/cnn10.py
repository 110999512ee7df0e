"""PANNs Cnn10: four blocks of two 3×3 convolutions, and its tagging head.

Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks" (2020). Log-mel in decibels
[b f m] is normalised per mel bin by a batch norm, not by constants of the recordings; each block is
(convolution, batch norm, ReLU) twice, then an average over 2×2, odd edges dropped. The mean over
mel leaves frames [b t d], t = f // 16. The head pools them into an embedding and reads events from
it. CL4AC hears through the same blocks at 44.1 kHz (`frontend=CL4AC`) and puts its own head on the
frames.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from adiff_jax.arrays import Frames, Lengths
from adiff_jax.audio.augment import SpecAugment, spec_augment
from adiff_jax.audio.frontends import CNN10, LogMel
from adiff_jax.models.byola import blank_padding, halved, valid_frames
from adiff_jax.nn.convolution import evaluated
from adiff_jax.nn.recurrent import masked_max, masked_mean


@dataclass(frozen=True)
class Cnn10:
    """The published size. SpecAugment zeroes stripes after the batch norm, where zero is usual."""

    filters: tuple[int, ...] = (64, 128, 256, 512)
    dropout: float = 0.2  # after each block
    head_dropout: float = 0.5  # before both layers of the head
    frontend: LogMel = CNN10
    augment: SpecAugment = SpecAugment(time_stripes=2, time_width=64, mel_stripes=2, mel_width=8)
    freeze_batch_norm: bool = False  # keep the running statistics; for batches below 16
    stride: ClassVar[int] = 16  # frames of log-mel in one output frame

    def __post_init__(self) -> None:
        if len(self.filters) != 4:
            raise ValueError(
                f"Cnn10.filters is {self.filters}: give one number for each of 4 blocks"
            )

    @property
    def embedding_width(self) -> int:
        """Width of frames and embedding."""
        return self.filters[-1]


def average_pool(x: jax.Array) -> jax.Array:
    """2×2 mean over axes 1 and 2 of [b f m c], odd edges dropped."""
    rows, frames, mels, channels = x.shape
    x = x[:, : frames // 2 * 2, : mels // 2 * 2]
    return x.reshape(rows, frames // 2, 2, mels // 2, 2, channels).mean(axis=(2, 4))


class Cnn10Encoder(nn.Module):
    """Log-mel of clips -> frames; batch statistics are over valid frames only."""

    config: Cnn10
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        log_mel: Float[Array, "b f m"],
        lengths: Lengths,
        train: bool = False,
        key: jax.Array | None = None,
        clips: int = 1,
    ) -> tuple[Float[Array, "b t d"], Bool[Array, "b t"]]:
        """Decibels [b f m], valid frames [b] -> frames [b t d], mask [b t].

        The mask keeps the output frames whose pooling window is filled with valid frames, and at
        least one frame of any clip that has one. SpecAugment draws from `key`, the same for every
        `clips` rows; without a key there is none.
        """
        x = self._norm("norm_0", log_mel[..., None], lengths, train, axis=2)
        if key is not None:
            x = spec_augment(key, self.config.augment, x[..., 0], clips)[..., None]
        remaining = lengths
        for block, size in enumerate(self.config.filters, start=1):
            for half in (1, 2):
                x = blank_padding(x, remaining)
                x = nn.Conv(
                    size,
                    (3, 3),
                    use_bias=False,
                    dtype=self.dtype,
                    conv_general_dilated=None if train else evaluated,
                    name=f"conv_{block}_{half}",
                )(x)
                x = nn.relu(self._norm(f"norm_{block}_{half}", x, remaining, train))
            x, remaining = average_pool(x), halved(remaining)
            x = nn.Dropout(self.config.dropout)(x, deterministic=not train)
        frames = x.mean(axis=2)
        return frames, jnp.arange(frames.shape[1])[None] < remaining[:, None]

    def _norm(
        self, name: str, x: jax.Array, lengths: jax.Array, train: bool, axis: int = -1
    ) -> jax.Array:
        norm = nn.BatchNorm(
            use_running_average=not train or self.config.freeze_batch_norm,
            axis=axis,
            momentum=0.9,  # PyTorch's 0.1
            epsilon=1e-5,
            dtype=self.dtype,
            name=name,
        )
        return norm(x, mask=valid_frames(x, lengths))


class Cnn10Head(nn.Module):
    """Embedding and event logits from the frames; float32."""

    config: Cnn10
    classes: int

    def setup(self) -> None:
        self.dense = nn.Dense(self.config.embedding_width)
        self.events = nn.Dense(self.classes)
        self.dropout = nn.Dropout(self.config.head_dropout)

    def embed(
        self, frames: Frames, mask: Bool[Array, "b f"], train: bool = False
    ) -> Float[Array, "b d"]:
        """ReLU of a layer on the maximum plus the mean over valid frames."""
        frames = frames.astype(jnp.float32)
        pooled = masked_max(frames, mask) + masked_mean(frames, mask)
        return nn.relu(self.dense(self.dropout(pooled, deterministic=not train)))

    def __call__(
        self, frames: Frames, mask: Bool[Array, "b f"], train: bool = False
    ) -> tuple[Float[Array, "b d"], Float[Array, "b c"]]:
        """Embedding, and logits of the events before the sigmoid."""
        embedding = self.embed(frames, mask, train)
        return embedding, self.events(self.dropout(embedding, deterministic=not train))
