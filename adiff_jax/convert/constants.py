"""Constants that PyTorch checkpoints store and our models compute: are they the same?

A checkpoint whose spectrum, filters or windows are others was trained on other features, and its
weights would mean nothing here.
"""

import functools
from collections.abc import Callable

import numpy as np

from adiff_jax.audio.dsp import mel_filters
from adiff_jax.audio.frontends import LogMel
from adiff_jax.convert.table import Carried

_TOLERANCE = 1e-5
"""Of the largest value of ours: above float32 rounding (1e-7), below a mel edge moved by 1 Hz."""


def frontend_constants(prefix: str, frontend: LogMel) -> tuple[Carried, ...]:
    """The DFT convolutions and the mel matrix of torchlibrosa below `prefix`, checked."""

    def spectrum(part: str) -> Callable[[np.ndarray], str]:
        return lambda value: _difference(value, dft_kernels(frontend.window)[part])

    def mel(value: np.ndarray) -> str:
        return _difference(value, filters_of(frontend))

    return (
        Carried(f"{prefix}spectrogram_extractor.stft.conv_real.weight", spectrum("real")),
        Carried(f"{prefix}spectrogram_extractor.stft.conv_imag.weight", spectrum("imag")),
        Carried(f"{prefix}logmel_extractor.melW", mel),
    )


def exactly(ours: np.ndarray) -> Callable[[np.ndarray], str]:
    """A check that an index or a mask equals ours, whatever its dtype."""

    def check(theirs: np.ndarray) -> str:
        if theirs.shape != ours.shape:
            return f"is {theirs.shape}, ours is {ours.shape}"
        different = int((theirs != ours).sum())
        return f"differs from ours in {different} of {ours.size} places" if different else ""

    return check


@functools.cache
def dft_kernels(size: int) -> dict[str, np.ndarray]:
    """Hann-windowed DFT as convolution kernels [bins 1 size], exp(-2 pi i n k / size)."""
    samples = np.arange(size)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * samples / size)
    angle = 2 * np.pi * (np.outer(np.arange(size // 2 + 1), samples) % size) / size
    return {
        "real": (window * np.cos(angle))[:, None],
        "imag": (-window * np.sin(angle))[:, None],
    }


def filters_of(frontend: LogMel) -> np.ndarray:
    """The mel matrix [bins mels] of a frontend, float64."""
    return mel_filters(
        frontend.rate,
        frontend.window,
        frontend.mels,
        frontend.fmin,
        frontend.fmax,
        frontend.scale,
        frontend.area_norm,
    )


def _difference(theirs: np.ndarray, ours: np.ndarray) -> str:
    """ "" when equal up to rounding, else what differs, where and by how much."""
    if theirs.shape != ours.shape:
        return f"is {theirs.shape}, ours is {ours.shape}"
    distance = np.abs(theirs.astype(np.float64) - ours)
    distance = np.where(np.isnan(distance), np.inf, distance)
    largest = float(np.abs(ours).max())
    if distance.max() <= _TOLERANCE * largest:
        return ""
    place = tuple(int(i) for i in np.unravel_index(distance.argmax(), distance.shape))
    return (
        f"differs from ours by up to {distance.max():.3g} (at {place}: {float(theirs[place]):.6g}, "
        f"ours {ours[place]:.6g}; largest value {largest:.3g}): it was trained on other features"
    )
