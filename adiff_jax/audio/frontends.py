"""Log-mel frontends of the three systems: one function, five sets of parameters.

waveform [b n] at `rate` -> log-mel [b f m], f = 1 + n // hop, float32, centred frames with reflect
padding, periodic Hann window, power spectrum. Sources: BYOL-A (ADC-SDD), HTSAT (ADIFF), PANNs
Cnn10 and CL4AC as published.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from adiff_jax.arrays import Waves
from adiff_jax.audio import dsp


@dataclass(frozen=True)
class NaturalLog:
    """log(x + offset)."""

    offset: float = 1.1920929e-07  # float32 machine epsilon, as published with BYOL-A


@dataclass(frozen=True)
class Decibel:
    """10 log10(max(x, floor)); silence is exactly 10 log10(floor)."""

    floor: float = 1e-10


@dataclass(frozen=True)
class LogMel:
    """Parameters of a log-mel frontend; the defaults are BYOL-A's at a 10 ms hop."""

    rate: int = 16000  # Hz
    window: int = 1024  # samples, also the DFT size
    hop: int = 160  # samples
    mels: int = 64
    fmin: float = 60.0  # Hz
    fmax: float = 7800.0  # Hz
    scale: dsp.MelScale = "slaney"
    area_norm: bool = True
    log: NaturalLog | Decibel = NaturalLog()

    @property
    def frame_seconds(self) -> float:
        return self.hop / self.rate

    def frames(self, samples: int) -> int:
        """Number of frames of a clip of `samples` samples."""
        return 1 + samples // self.hop


BYOLA = LogMel()
BYOLA_HTK = LogMel(scale="htk", area_norm=False)
HTSAT = LogMel(rate=32000, hop=320, fmin=50.0, fmax=14000.0, log=Decibel())
CNN10 = HTSAT  # PANNs Cnn10 at 32 kHz shares HTSAT's frontend
CL4AC = LogMel(rate=44100, hop=512, fmin=50.0, fmax=14000.0, log=Decibel())


def log_mel(config: LogMel, audio: Waves) -> Float[Array, "b f m"]:
    """Log-mel spectrogram of `audio` [b n] float32 at `config.rate`."""
    filters = dsp.mel_filters(
        config.rate,
        config.window,
        config.mels,
        config.fmin,
        config.fmax,
        config.scale,
        config.area_norm,
    )
    # Only the bins that a filter hears are computed.
    heard = np.flatnonzero(filters.sum(axis=1))
    first, last = int(heard[0]), int(heard[-1]) + 1
    power = dsp.power_spectrum(audio.astype(jnp.float32), config.window, config.hop, first, last)
    mel = jnp.einsum(
        "bfk,km->bfm",
        power,
        filters[dsp.spectrum_bins(first, last)].astype(np.float32),
        precision=jax.lax.Precision.HIGHEST,
    )
    match config.log:
        case NaturalLog(offset):
            return jnp.log(mel + offset)
        case Decibel(floor):
            return 10.0 * jnp.log10(jnp.maximum(mel, floor))


def frame_lengths(config: LogMel, lengths: Int[Array, " b"]) -> Int[Array, " b"]:
    """Valid frames of clips with `lengths` valid samples; 0 for an empty clip.

    The last valid frames of a padded clip see the zero padding where the unpadded clip would be
    reflected: within half a window of the end the two differ.
    """
    return jnp.where(lengths > 0, 1 + lengths // config.hop, 0)
