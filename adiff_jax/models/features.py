"""What every encoder is fed: normalised log-mel of one clip, augmented in training."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adiff_jax.arrays import Lengths, Waves
from adiff_jax.audio.augment import SpecAugment, spec_augment, time_shift
from adiff_jax.audio.frontends import log_mel
from adiff_jax.models.build import Encoder


@dataclass(frozen=True)
class Augment:
    """Training augmentation, the same for both clips of a pair; zero widths switch a part off."""

    spec: SpecAugment = SpecAugment(time_stripes=2, time_width=32, mel_stripes=2, mel_width=8)
    shift_seconds: float = 0.0  # largest circular shift of a clip either way


def clip_features(
    encoder: Encoder, augment: Augment, audio: Waves, lengths: Lengths, key: jax.Array | None
) -> Float[Array, "b f m"]:
    """Normalised log-mel of `audio` [b n], `lengths` [b] of it valid; augmented given a key."""
    frontend = encoder.frontend
    if key is None:
        return (log_mel(frontend, audio) - encoder.mean) / encoder.std
    key_shift, key_spec = jax.random.split(key)
    audio = shifted(augment, frontend.rate, audio, lengths, key_shift)
    features = (log_mel(frontend, audio) - encoder.mean) / encoder.std
    return spec_augment(key_spec, augment.spec, features)


def shifted(augment: Augment, rate: int, audio: Waves, lengths: Lengths, key: jax.Array) -> Waves:
    """`audio` [b n] at `rate` Hz, every clip moved in time by up to `augment.shift_seconds`."""
    if augment.shift_seconds > 0:
        return time_shift(key, round(augment.shift_seconds * rate), audio, lengths)
    return audio


def as_channels(features: list[Float[Array, "b f m"]], channels: int) -> Float[Array, "b f m c"]:
    """Stack feature maps as input channels; channels beyond them are zero.

    Raises ValueError when the encoder has fewer channels than there are maps.
    """
    if len(features) > channels:
        raise ValueError(
            f"the encoder has {channels} input channel(s) but is given {len(features)}: "
            f"set encoder.channels to {len(features)}"
        )
    blank = [jnp.zeros_like(features[0])] * (channels - len(features))
    return jnp.stack([*features, *blank], axis=-1)
