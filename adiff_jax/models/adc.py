"""ADC-SDD: two clips in, the sentence that turns one into the other out.

Takeuchi et al., DCASE 2023 (arXiv 2308.11923): a shared encoder, a shared projection, the
difference encoder over both clips, a text decoder that reads its output Z. SDD is a training loss
beside it. Two additions of ours, both off by default: the log-mel difference as the encoder's
second input channel, and difference tokens, pooled differences appended to the decoder's memory.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from adiff_jax.arrays import Batch, Constrain, FrameMask, Frames, NextLogits, Output, unconstrained
from adiff_jax.audio.frontends import frame_lengths
from adiff_jax.matching import Matching
from adiff_jax.models.build import Encoder, FrameEncoder, build_encoder
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.cac import DifferenceEncoder, DifferenceTransformer, split_clips
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.features import Augment, as_channels, check_augment, clip_features, hear
from adiff_jax.models.matching import matched
from adiff_jax.models.sdd import ClipPooling, Disentanglement
from adiff_jax.models.text_decoder import DecoderCache, TextDecoder, TextDecoderModule
from adiff_jax.nn.recurrent import masked_max, masked_mean
from adiff_jax.nn.stack import Stack

Projected = tuple[Frames, Frames, FrameMask, FrameMask]
"""Frames of clip 1 and of clip 2 [b t d], and their masks [b t]."""


@dataclass(frozen=True)
class Adc:
    """The assembly. `vocab_size` is a cap: the tokenizer may have fewer words, not more."""

    encoder: FrameEncoder = StridedByolA()
    comparison: DifferenceEncoder = DifferenceEncoder()
    sdd: Disentanglement = Disentanglement()
    decoder: TextDecoder = TextDecoder()
    vocab_size: int = 256
    augment: Augment = Augment()
    freeze_encoder: bool = False  # evaluation mode, and nothing below `encoder` is trained
    difference_channel: bool = False  # log-mel of clip 2 minus clip 1 as second input channel
    difference_tokens: int = 0  # pooled difference vectors appended to the memory
    matching: Matching | None = None  # CL4AC's loss, on pairs
    stack: Stack = Stack()  # of difference encoder and decoder
    compute: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.comparison.width != self.decoder.width:
            raise ValueError(
                f"comparison.width ({self.comparison.width}) and decoder.width "
                f"({self.decoder.width}) differ: the decoder reads the comparison's output"
            )
        check_augment(self.encoder, self.augment)
        if self.difference_channel and isinstance(self.encoder, Cnn10):
            raise ValueError(
                "model.difference_channel: Cnn10 has one input channel; set it to False, or take "
                "an encoder of the BYOL-A family"
            )
        if self.difference_channel and self.matching and self.matching.swaps:
            raise ValueError(
                "model.matching.negative is SwappedOrder, but with model.difference_channel the "
                "encoder hears both clips in one order: set that to False, or take another negative"
            )


@struct.dataclass
class AdcConditioning:
    """What the decoder reads."""

    memory: Any  # [b s d]
    memory_mask: Any  # [b s] bool


class AdcModel(nn.Module):
    """A `Captioner` over pairs; see `adiff_jax.protocol`."""

    config: Adc
    constrain: Constrain = unconstrained

    def setup(self) -> None:
        config = self.config
        dtype = jnp.dtype(config.compute)
        self.encoder = build_encoder(config.encoder, dtype)
        self.projection = nn.Dense(
            config.comparison.width, dtype=dtype, kernel_init=nn.initializers.xavier_uniform()
        )
        self.comparison = DifferenceTransformer(
            config.comparison, dtype, config.stack, self.constrain
        )
        self.decoder = TextDecoderModule(
            config.decoder, config.vocab_size, dtype, config.stack, self.constrain
        )
        if config.sdd.stage != "off":
            self.pooling = ClipPooling(config.sdd)
        if config.difference_tokens:
            self.difference = DifferenceTokens(
                config.difference_tokens, config.comparison.width, dtype
            )
        if config.matching is not None:
            self.matching = nn.Dense(2, dtype=jnp.float32)

    def clip_frames(self, batch: Batch, train: bool) -> tuple[Frames, Frames, FrameMask, FrameMask]:
        """Encoder output of both clips [b t d] with masks, from audio or from cached features.

        Raises ValueError for cached features where the model wants a difference channel: they
        are of single clips.
        """
        if batch.features_1 is not None:
            if self.config.difference_channel:
                raise ValueError(
                    "model.difference_channel: cached features are of single clips and hold none; "
                    "set it to False, or train on audio"
                )
            index = jnp.arange(batch.features_1.shape[1])[None]
            return (
                batch.features_1,
                batch.features_2,
                index < batch.length_1[:, None],
                index < batch.length_2[:, None],
            )
        config = self.config
        key = self.make_rng("augment") if train else None
        train = train and not config.freeze_encoder
        # Clips are interleaved, so that merging them into the batch axis moves no row to another
        # device.
        audio = jnp.stack([batch.audio_1, batch.audio_2], axis=1)
        # Padding rows have no frames, so that they are not part of the batch statistics.
        lengths = jnp.stack([batch.length_1, batch.length_2], axis=1) * batch.valid[:, None]
        given = config.augment, audio.reshape(-1, audio.shape[-1]), lengths.reshape(-1), key
        if isinstance(config.encoder, Cnn10) or not config.difference_channel:
            frames, mask = hear(self.encoder, config.encoder, *given, train, clips=2)
        else:
            features = clip_features(config.encoder, *given, clips=2)
            maps = [features, _difference(config.encoder, features, lengths)]
            frames, mask = self.encoder(
                as_channels(maps, config.encoder.channels),
                frame_lengths(config.encoder.frontend, lengths.reshape(-1)),
                train,
            )
        frames = frames.reshape(-1, 2, *frames.shape[1:])
        mask = mask.reshape(-1, 2, mask.shape[1])
        return frames[:, 0], frames[:, 1], mask[:, 0], mask[:, 1]

    def projected(self, batch: Batch, train: bool) -> Projected:
        """Projected frames of both clips, which are encoded once."""
        frames_1, frames_2, mask_1, mask_2 = self.clip_frames(batch, train)
        return self.projection(frames_1), self.projection(frames_2), mask_1, mask_2

    def compare(self, projected: Projected, train: bool) -> AdcConditioning:
        """What the decoder reads of the second clip after the first."""
        x, y, mask_1, mask_2 = projected
        z = self.comparison(x, y, mask_1, mask_2, train)
        memory_mask = jnp.concatenate([mask_1, mask_2], axis=1)
        if self.config.difference_tokens:
            tokens = self.difference(x, y, mask_1, mask_2)
            z = jnp.concatenate([z, tokens], axis=1)
            present = (mask_1.any(axis=1) & mask_2.any(axis=1))[:, None]
            present = jnp.broadcast_to(present, tokens.shape[:2])
            memory_mask = jnp.concatenate([memory_mask, present], axis=1)
        z = self.constrain(z, ("batch", None, None))
        return AdcConditioning(z, memory_mask)

    def encode(self, batch: Batch, train: bool = False) -> AdcConditioning:
        """Both clips -> the decoder's memory."""
        return self.compare(self.projected(batch, train), train)

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        """Teacher forcing; `aux["sdd"]` holds `ClipEmbeddings` when SDD is on, `aux["matching"]`
        `Matched` when the matching loss is."""
        projected = self.projected(batch, train)
        heard = self.compare(projected, train)

        def read(tokens: jax.Array, swap: bool) -> jax.Array:
            x, y, mask_1, mask_2 = projected
            memory = self.compare((y, x, mask_2, mask_1), train) if swap else heard
            return self.decoder.hidden(memory.memory, memory.memory_mask, tokens, train)

        hidden, aux = read(batch.tokens, False), dict[str, Any]()
        logits = self.decoder.output(hidden)
        if self.config.sdd.stage != "off":
            aux["sdd"] = self._pooled(heard.memory, projected, train)
        if self.config.matching is not None:
            aux["matching"] = matched(self.config.matching, self.matching, batch, hidden, read)
        return Output(self.constrain(logits, ("batch", None, "vocab")), aux)

    def _pooled(self, memory: jax.Array, projected: Projected, train: bool) -> object:
        x, y, mask_1, mask_2 = projected
        if self.config.sdd.stage == "late":
            if self.config.sdd.segments:
                z = memory[:, : x.shape[1] + y.shape[1]]
            else:
                z = self.comparison(x, y, mask_1, mask_2, train, segments=False)
            x, y = split_clips(z, x.shape[1])
        return self.pooling(x, y, mask_1, mask_2)

    def prefill(
        self, conditioning: AdcConditioning, capacity: int
    ) -> tuple[NextLogits, DecoderCache]:
        """Logits of the first word and the decoder's cache."""
        return self.decoder.prefill(conditioning.memory, conditioning.memory_mask, capacity)

    def extend(self, cache: DecoderCache, token: jax.Array) -> tuple[NextLogits, DecoderCache]:
        """Append one word to every row."""
        return self.decoder.extend(cache, token)


def _difference(
    encoder: Encoder, features: Float[Array, "b f m"], lengths: Int[Array, "e 2"]
) -> Float[Array, "b f m"]:
    """Features of the second clip minus the first, for both rows of every example."""
    pairs = features.reshape(-1, 2, *features.shape[1:])
    # Where one clip has ended, what the other still holds is no difference between them.
    shorter = frame_lengths(encoder.frontend, lengths.min(axis=1))
    shared = jnp.arange(features.shape[1])[None] < shorter[:, None]
    difference = jnp.where(shared[:, :, None], pairs[:, 1] - pairs[:, 0], 0)
    return jnp.repeat(difference, 2, axis=0)


class DifferenceTokens(nn.Module):
    """Pooled differences between the clips as `count` extra memory vectors [b count d].

    relu(±(y - x)) averaged over time sees what came and went where the rest stayed in place; the
    differences of each clip's own mean and maximum do not depend on when things happen.
    """

    count: int
    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Frames, y: Frames, x_mask: FrameMask, y_mask: FrameMask
    ) -> Float[Array, "b count d"]:
        both = x_mask & y_mask
        pooled = [
            masked_mean(nn.relu(y - x), both),
            masked_mean(nn.relu(x - y), both),
            masked_mean(y, y_mask) - masked_mean(x, x_mask),
            masked_max(y, y_mask) - masked_max(x, x_mask),
            masked_max(x, x_mask),
            masked_max(y, y_mask),
        ]
        pooled = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="norm_in")(
            jnp.concatenate(pooled, axis=-1)
        )
        hidden = nn.relu(nn.Dense(2 * self.width, dtype=self.dtype, name="expand")(pooled))
        tokens = nn.Dense(self.count * self.width, dtype=self.dtype, name="tokens")(hidden)
        tokens = tokens.reshape(x.shape[0], self.count, self.width)
        return nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="norm_out")(tokens)
