"""CL4AC: one clip in, a sentence about it out.

Liu et al., DCASE 2021 (arXiv 2107.09990): PANNs Cnn10 at 44.1 kHz, two dense layers as a bridge,
and a small transformer decoder that reads the frames; a matching head reads the decoder's last
state in training (`adiff_jax.matching`). Other encoders of frames take Cnn10's place by config.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from adiff_jax.arrays import Batch, Constrain, FrameMask, Frames, NextLogits, Output, unconstrained
from adiff_jax.audio.frontends import CL4AC
from adiff_jax.matching import EditedCaption, EpochCaption, Matching, SwappedOrder
from adiff_jax.models.build import FrameEncoder, build_encoder
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.features import Augment, check_augment, hear
from adiff_jax.models.matching import matched
from adiff_jax.models.text_decoder import DecoderCache, TextDecoder, TextDecoderModule
from adiff_jax.nn.stack import Stack

Compat = Literal["", "cl4ac-2021"]
"""Whose conventions: "" is our own. The published code hears the zeros that a clip is padded with,
learns to say the padding of a row, the end token, and has one negative for all rows of an epoch."""


@dataclass(frozen=True)
class Cl4ac:
    """The assembly; the defaults are the published sizes but for `vocab_size`, which is a cap: the
    tokenizer may have fewer words, not more. `matching=None` is the paper's baseline.

    Cnn10's SpecAugment is its own, `encoder.augment`; of `augment` it only knows the shift.
    """

    encoder: FrameEncoder = Cnn10(frontend=CL4AC)
    bridge: int = 512  # width of the layer between the frames and the decoder's memory
    bridge_dropout: float = 0.2
    decoder: TextDecoder = TextDecoder(layers=2, width=128, heads=4, hidden=2048, dropout=0.2)
    matching: Matching | None = Matching()
    vocab_size: int = 4608
    augment: Augment = Augment()
    freeze_encoder: bool = False  # evaluation mode, and nothing below `encoder` is trained
    compat: Compat = ""
    stack: Stack = Stack()  # of the decoder
    compute: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_augment(self.encoder, self.augment)
        negative = self.matching.negative if self.matching else None
        if isinstance(negative, SwappedOrder | EditedCaption):
            raise ValueError(
                f"model.matching.negative is {type(negative).__name__}, which is for pairs: a "
                "model of single clips has AnotherCaption, InBatch and EpochCaption"
            )
        if self.compat and negative is not None and not isinstance(negative, EpochCaption):
            raise ValueError(
                f'model.compat is "cl4ac-2021", but model.matching.negative is '
                f"{type(negative).__name__}: the published code has EpochCaption"
            )


@struct.dataclass
class Cl4acConditioning:
    """What the decoder reads."""

    memory: Any  # [b s d]
    memory_mask: Any  # [b s] bool


class Cl4acModel(nn.Module):
    """A `Captioner` of single clips; see `adiff_jax.protocol`."""

    config: Cl4ac
    constrain: Constrain = unconstrained

    def setup(self) -> None:
        config, dtype = self.config, jnp.dtype(self.config.compute)
        self.encoder = build_encoder(config.encoder, dtype)
        self.bridge_1 = nn.Dense(config.bridge, dtype=dtype)
        self.bridge_2 = nn.Dense(config.decoder.width, dtype=dtype)
        self.drop = nn.Dropout(config.bridge_dropout)
        self.decoder = TextDecoderModule(
            config.decoder, config.vocab_size, dtype, config.stack, self.constrain
        )
        if config.matching is not None:
            self.matching = nn.Dense(2, dtype=jnp.float32)

    def clip_frames(self, batch: Batch, train: bool) -> tuple[Frames, FrameMask]:
        """Encoder output of the clips [b t d] with its mask, from audio or as it was cached."""
        if batch.features_1 is not None:
            index = jnp.arange(batch.features_1.shape[1])[None]
            return batch.features_1, index < batch.length_1[:, None]
        lengths = batch.length_1
        if self.config.compat:
            lengths = jnp.full_like(lengths, batch.audio_1.shape[1])
        return hear(
            self.encoder,
            self.config.encoder,
            self.config.augment,
            batch.audio_1,
            lengths * batch.valid,  # padding rows take no part in batch statistics
            self.make_rng("augment") if train else None,
            train and not self.config.freeze_encoder,
        )

    def remember(self, frames: Frames, mask: FrameMask, train: bool = False) -> Cl4acConditioning:
        """The decoder's memory of frames [b t d]."""
        hidden = self.drop(nn.relu(self.bridge_1(frames)), deterministic=not train)
        memory = nn.relu(self.bridge_2(hidden))
        return Cl4acConditioning(self.constrain(memory, ("batch", None, None)), mask)

    def encode(self, batch: Batch, train: bool = False) -> Cl4acConditioning:
        """Clips -> the decoder's memory."""
        return self.remember(*self.clip_frames(batch, train), train)

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        """Teacher forcing; `aux["matching"]` holds `Matched` where the model has the loss."""
        heard = self.encode(batch, train)

        def read(tokens: jax.Array, swap: bool) -> jax.Array:
            del swap  # refused by the config
            return self.decoder.hidden(heard.memory, heard.memory_mask, tokens, train)

        hidden, aux = read(batch.tokens, False), {}
        if self.config.matching is not None:
            aux["matching"] = matched(self.config.matching, self.matching, batch, hidden, read)
        logits = self.decoder.output(hidden)
        return Output(self.constrain(logits, ("batch", None, "vocab")), aux)

    def prefill(
        self, conditioning: Cl4acConditioning, capacity: int
    ) -> tuple[NextLogits, DecoderCache]:
        """Logits of the first word and the decoder's cache."""
        return self.decoder.prefill(conditioning.memory, conditioning.memory_mask, capacity)

    def extend(self, cache: DecoderCache, token: jax.Array) -> tuple[NextLogits, DecoderCache]:
        """Append one word to every row."""
        return self.decoder.extend(cache, token)
