"""Training-time augmentation as keyed pure functions, row-local and independent of the mesh.

Draws have one value per example of the global batch, so the same key gives the same augmentation
on any sharding. Clips of a pair follow each other and share a draw: what is masked or shifted in
one is masked or shifted in the other, and the difference between them stays true.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adiff_jax.arrays import Lengths, Waves


@dataclass(frozen=True)
class SpecAugment:
    """Zero stripes along time and mel (Park et al., 2019, without warping).

    Widths are drawn uniformly from {0 .. width - 1}.
    """

    time_stripes: int = 2
    time_width: int = 64  # frames
    mel_stripes: int = 2
    mel_width: int = 8  # bins


def _stripes(key: jax.Array, rows: int, size: int, count: int, width: int) -> jax.Array:
    """Mask [rows, size], True inside any of `count` random stripes."""
    key_width, key_start = jax.random.split(key)
    widths = jax.random.randint(key_width, (rows, count), 0, max(1, min(width, size)))
    starts = jax.random.uniform(key_start, (rows, count)) * (size - widths + 1)
    starts = jnp.floor(starts).astype(jnp.int32)
    index = jnp.arange(size)
    inside = (index >= starts[..., None]) & (index < (starts + widths)[..., None])
    return inside.any(axis=1)


def spec_augment(
    key: jax.Array, config: SpecAugment, features: Float[Array, "b f m"], clips: int = 1
) -> Float[Array, "b f m"]:
    """Zero random time and mel stripes of normalised `features`, the same of every `clips` rows
    that follow each other."""
    key_time, key_mel = jax.random.split(key)
    examples, (_, frames, mels) = len(features) // clips, features.shape
    time = _stripes(key_time, examples, frames, config.time_stripes, config.time_width)
    mel = _stripes(key_mel, examples, mels, config.mel_stripes, config.mel_width)
    time, mel = jnp.repeat(time, clips, axis=0), jnp.repeat(mel, clips, axis=0)
    return jnp.where(time[:, :, None] | mel[:, None, :], 0.0, features)


def time_shift(key: jax.Array, most: int, audio: Waves, lengths: Lengths, clips: int = 1) -> Waves:
    """Roll every clip, within its valid samples [b], by a number of samples, uniform in
    {-most .. most}, the same for every `clips` rows that follow each other; zeros after them."""
    shifts = jax.random.randint(key, (len(audio) // clips,), -most, most + 1)
    shifts = jnp.repeat(shifts, clips)
    index = jnp.arange(audio.shape[1])

    def roll(wave: jax.Array, shift: jax.Array, length: jax.Array) -> jax.Array:
        rolled = wave[(index - shift) % jnp.maximum(length, 1)]
        return jnp.where(index < length, rolled, 0.0)

    return jax.vmap(roll)(audio, shifts, lengths)
