"""What every encoder of frames is fed: log-mel of one clip, augmented in training."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adiff_jax.arrays import FrameMask, Frames, Lengths, Waves
from adiff_jax.audio.augment import SpecAugment, spec_augment, time_shift
from adiff_jax.audio.frontends import frame_lengths, log_mel
from adiff_jax.models.build import FrameEncoder
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.htsat import Htsat


@dataclass(frozen=True)
class Augment:
    """Training augmentation, the same for both clips of a pair; zero widths switch a part off."""

    spec: SpecAugment = SpecAugment(time_stripes=2, time_width=32, mel_stripes=2, mel_width=8)
    shift_seconds: float = 0.0  # largest circular shift of a clip either way


def check_augment(encoder: object, augment: Augment) -> None:
    """Raise ValueError for an `augment.spec` that an encoder which masks by itself would not hear
    of."""
    if isinstance(encoder, Htsat | Cnn10) and augment.spec != Augment().spec:
        raise ValueError(
            f"augment.spec has no effect on {type(encoder).__name__}, which masks after its batch "
            "norm: leave it out, and set encoder.augment"
        )


def clip_features(
    encoder: FrameEncoder,
    augment: Augment,
    audio: Waves,
    lengths: Lengths,
    key: jax.Array | None,
    clips: int = 1,
) -> Float[Array, "b f m"]:
    """Log-mel of `audio` [b n], `lengths` [b] of it valid, as the encoder is fed; augmented given a
    key, every `clips` rows alike.

    Cnn10 normalises by itself, and masks after that with the second half of the key.
    """
    frontend = encoder.frontend
    if key is not None:
        key_shift, key_spec = jax.random.split(key)
        audio = shifted(augment, frontend.rate, audio, lengths, key_shift, clips)
    features = log_mel(frontend, audio)
    if isinstance(encoder, Cnn10):
        return features
    features = (features - encoder.mean) / encoder.std
    return features if key is None else spec_augment(key_spec, augment.spec, features, clips)


def hear(
    module: Any,
    encoder: FrameEncoder,
    augment: Augment,
    audio: Waves,
    lengths: Lengths,
    key: jax.Array | None,
    train: bool,
    clips: int = 1,
) -> tuple[Frames, FrameMask]:
    """Clips [b n], `lengths` [b] of their samples valid -> frames [b t d] and mask of `module`, the
    encoder's. Augmented given a key, every `clips` rows alike."""
    features = clip_features(encoder, augment, audio, lengths, key, clips)
    frames = frame_lengths(encoder.frontend, lengths)
    if isinstance(encoder, Cnn10):
        key_spec = None if key is None else jax.random.split(key)[1]
        found: tuple[Frames, FrameMask] = module(features, frames, train, key_spec, clips)
        return found
    found = module(as_channels([features], encoder.channels), frames, train)
    return found


def shifted(
    augment: Augment,
    rate: int,
    audio: Waves,
    lengths: Lengths,
    key: jax.Array,
    clips: int = 1,
) -> Waves:
    """`audio` [b n] at `rate` Hz, moved in time by up to `augment.shift_seconds`, every `clips`
    rows alike."""
    if augment.shift_seconds > 0:
        return time_shift(key, round(augment.shift_seconds * rate), audio, lengths, clips)
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
