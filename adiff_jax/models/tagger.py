"""A tagger: which events a clip holds. Stage 1 of staged training, and what ADIFF hears with.

Over an encoder of frames (BYOL-A) the clip embedding is max over time + mean over time, and one
linear layer gives a logit per class. Over HTSAT both are its own: the mean of its tokens, and the
published head that reads the tokens; so are Cnn10's, whose embedding is a layer of its head.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float

from adiff_jax.arrays import Batch, Lengths, Waves
from adiff_jax.audio.frontends import frame_lengths, log_mel
from adiff_jax.models.build import Encoder, build_encoder
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.cnn10 import Cnn10, Cnn10Encoder, Cnn10Head
from adiff_jax.models.features import Augment, check_augment, hear, shifted
from adiff_jax.models.htsat import Htsat, HtsatEncoder, HtsatHead
from adiff_jax.nn.recurrent import masked_max, masked_mean


@dataclass(frozen=True)
class Tagger:
    """`classes` is the number of labels of the source. HTSAT's and Cnn10's SpecAugment is their
    own, `encoder.augment`; of `augment` they only know the shift.

    Raises ValueError for an `augment.spec` that they would not hear of.
    """

    encoder: Encoder | Htsat | Cnn10 = StridedByolA()
    classes: int = 10
    augment: Augment = Augment()
    compute: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_augment(self.encoder, self.augment)


@struct.dataclass
class Heard:
    """What a tagger makes of clips."""

    embedding: Any  # [b d]
    logits: Any  # [b c] float32


class TaggerModel(nn.Module):
    """Single clips -> logits [b c]. A frame encoder's parameters carry over to `Adc`'s."""

    config: Tagger

    def setup(self) -> None:
        config = self.config
        dtype = jnp.dtype(config.compute)
        self.encoder: nn.Module
        self.head: nn.Module
        match config.encoder:
            case Htsat():
                self.encoder = HtsatEncoder(config.encoder, dtype)
                self.head = HtsatHead(config.encoder, config.classes)
            case Cnn10():
                self.encoder = Cnn10Encoder(config.encoder, dtype)
                self.head = Cnn10Head(config.encoder, config.classes)
            case _:
                self.encoder = build_encoder(config.encoder, dtype)
                self.head = nn.Dense(config.classes, dtype=jnp.float32)

    def listen(
        self,
        audio: Waves,
        lengths: Lengths,
        valid: Bool[Array, " b"],
        train: bool = False,
        key: jax.Array | None = None,
    ) -> Heard:
        """Clips [b n] at the frontend's rate, `lengths` [b] of their samples valid -> embedding
        and logits. Rows that are not `valid` take no part in batch statistics.

        In training, augmentation draws from `key`, one value per row, or from the stream
        "augment" when none is given; in evaluation there is none.
        """
        match self.config.encoder:
            case Htsat() as config:
                tokens = self._own(config, audio, lengths, valid, train, key)
                return Heard(_mean(tokens), self.head(tokens).mean(axis=1))
            case Cnn10() as config:
                frames, mask = self._own(config, audio, lengths, valid, train, key)
                return Heard(*self.head(frames, mask, train))
            case config:
                embedding = self._pooled(config, audio, lengths, valid, train, key)
                return Heard(embedding, self.head(embedding.astype(jnp.float32)))

    def embed(self, batch: Batch, train: bool = False) -> Float[Array, "b d"]:
        """Clip embedding of `audio_1`; the head's parameters are needed for Cnn10 only."""
        given = batch.audio_1, batch.length_1, batch.valid, train
        match self.config.encoder:
            case Htsat() as config:
                return _mean(self._own(config, *given))
            case Cnn10() as config:
                return self.head.embed(*self._own(config, *given), train)
            case config:
                return self._pooled(config, *given)

    def __call__(self, batch: Batch, train: bool = False) -> Float[Array, "b c"]:
        return self.listen(batch.audio_1, batch.length_1, batch.valid, train).logits

    def _own(
        self,
        config: Htsat | Cnn10,
        audio: Waves,
        lengths: Lengths,
        valid: jax.Array,
        train: bool,
        key: jax.Array | None = None,
    ) -> Any:
        """What an encoder that normalises and masks by itself makes of clips."""
        frames = frame_lengths(config.frontend, lengths * valid)
        if not train:
            return self.encoder(log_mel(config.frontend, audio), frames)
        key_shift, key_spec = jax.random.split(self._augment_key(key))
        audio = shifted(self.config.augment, config.frontend.rate, audio, lengths, key_shift)
        return self.encoder(log_mel(config.frontend, audio), frames, train, key_spec)

    def _pooled(
        self,
        config: Encoder,
        audio: Waves,
        lengths: Lengths,
        valid: jax.Array,
        train: bool,
        key: jax.Array | None = None,
    ) -> Float[Array, "b d"]:
        key = self._augment_key(key) if train else None
        given = config, self.config.augment, audio, lengths * valid, key, train
        frames, mask = hear(self.encoder, *given)
        return masked_max(frames, mask) + masked_mean(frames, mask)

    def _augment_key(self, key: jax.Array | None) -> jax.Array:
        return self.make_rng("augment") if key is None else key


def _mean(tokens: Float[Array, "b s d"]) -> Float[Array, "b d"]:
    """Mean over the tokens, taken in float32."""
    return tokens.mean(axis=1, dtype=jnp.float32).astype(tokens.dtype)
