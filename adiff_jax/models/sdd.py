"""Similarity-discrepancy disentanglement: four clip embeddings for two training losses.

Takeuchi et al., DCASE 2023 (arXiv 2308.11923). The features of each clip are cut in half: the
first half should carry what the clips share, the second what sets them apart. Each half is pooled
by its own bidirectional LSTM, shared between the clips. `early` takes the projected encoder
frames, before positions and segments; `late` the output of the difference encoder. The losses are
`losses.sym_info_nce` and `losses.pair_cosine`; the decoder always sees the whole of Z.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from adiff_jax.arrays import FrameMask, Frames
from adiff_jax.nn.recurrent import BiLSTM, masked_mean

LOWEST_TEMPERATURE = 0.01  # as in CLIP, where the scale 1/τ is at most 100


@dataclass(frozen=True)
class Disentanglement:
    """Where SDD reads, and how strongly.

    `none_pairs`: pairs in which nothing changed contradict the discrepancy loss, so they are left
    out of it, or pulled together. `segments=False` computes the Z that SDD reads without segment
    vectors, because the loss can otherwise be met by them alone.
    """

    stage: Literal["off", "early", "late"] = "late"
    weight: float = 1.0  # λ
    temperature: float = 0.07  # τ
    learn_temperature: bool = False  # never in force below `LOWEST_TEMPERATURE`
    none_pairs: Literal["exclude", "attract"] = "exclude"
    segments: bool = True

    def __post_init__(self) -> None:
        if self.temperature < LOWEST_TEMPERATURE:
            raise ValueError(
                f"sdd.temperature is {self.temperature}; it must be at least {LOWEST_TEMPERATURE}"
            )


@struct.dataclass
class ClipEmbeddings:
    """Pooled halves of both clips, and the temperature in force."""

    similar_1: Any  # [b d/2] float32
    similar_2: Any
    discrepant_1: Any  # [b d/2] float32
    discrepant_2: Any
    temperature: Any  # scalar


class ClipPooling(nn.Module):
    """φ_S and φ_D: frames of two clips -> `ClipEmbeddings`, in float32."""

    config: Disentanglement

    @nn.compact
    def __call__(
        self, x: Frames, y: Frames, x_mask: FrameMask, y_mask: FrameMask
    ) -> ClipEmbeddings:
        half = x.shape[-1] // 2
        similar = BiLSTM(half // 2, name="similar")
        discrepant = BiLSTM(half // 2, name="discrepant")
        x, y = x.astype(jnp.float32), y.astype(jnp.float32)
        log_temperature = jnp.log(jnp.asarray(self.config.temperature, jnp.float32))
        if self.config.learn_temperature:
            log_temperature = self.param("log_temperature", lambda _: log_temperature)
            # Straight-through: the bound is in force, the gradient that of no bound, so that a
            # parameter that has passed it can come back.
            bounded = jnp.maximum(log_temperature, math.log(LOWEST_TEMPERATURE))
            log_temperature += jax.lax.stop_gradient(bounded - log_temperature)
        return ClipEmbeddings(
            similar_1=masked_mean(similar(x[..., :half], x_mask), x_mask),
            similar_2=masked_mean(similar(y[..., :half], y_mask), y_mask),
            discrepant_1=masked_mean(discrepant(x[..., half:], x_mask), x_mask),
            discrepant_2=masked_mean(discrepant(y[..., half:], y_mask), y_mask),
            temperature=jnp.exp(log_temperature),
        )
