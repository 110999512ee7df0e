"""A tagger: any encoder of the house with one linear layer on its pooled frames.

Stage 1 of staged training: clip embedding = max over time + mean over time (BYOL-A), then one
logit per class.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from adiff_jax.arrays import Batch
from adiff_jax.audio.frontends import frame_lengths
from adiff_jax.models.build import Encoder, build_encoder
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.features import Augment, as_channels, clip_features
from adiff_jax.nn.recurrent import masked_max, masked_mean


@dataclass(frozen=True)
class Tagger:
    """`classes` is the number of labels of the source."""

    encoder: Encoder = StridedByolA()
    classes: int = 10
    augment: Augment = Augment()
    compute: Literal["float32", "bfloat16"] = "float32"


class TaggerModel(nn.Module):
    """One clip -> logits [b c]. Its encoder's parameters carry over to `Adc`'s."""

    config: Tagger

    def setup(self) -> None:
        dtype = jnp.dtype(self.config.compute)
        self.encoder = build_encoder(self.config.encoder, dtype)
        self.head = nn.Dense(self.config.classes, dtype=jnp.float32)

    def embed(self, batch: Batch, train: bool = False) -> Float[Array, "b d"]:
        """Clip embedding of `audio_1`: max over time + mean over time."""
        config = self.config.encoder
        key = self.make_rng("augment") if train else None
        features = clip_features(config, self.config.augment, batch.audio_1, batch.length_1, key)
        frames, mask = self.encoder(
            as_channels([features], config.channels),
            frame_lengths(config.frontend, batch.length_1 * batch.valid),
            train,
        )
        return masked_max(frames, mask) + masked_mean(frames, mask)

    def __call__(self, batch: Batch, train: bool = False) -> Float[Array, "b c"]:
        return self.head(self.embed(batch, train).astype(jnp.float32))
