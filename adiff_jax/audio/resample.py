"""From one sampling rate to another: by soxr, or by the windowed sinc of ADIFF's published code."""

import functools
import math
from typing import Literal

import numpy as np
import soxr

Resampler = Literal["soxr", "windowed-sinc"]

_WIDTH = 6  # zero crossings of the sinc on either side
_ROLLOFF = 0.99  # of the band that the lower rate can hold


def resample(wave: np.ndarray, rate: int, wanted: int, resampler: Resampler = "soxr") -> np.ndarray:
    """`wave` float32 [n] at `rate` Hz brought to `wanted` Hz; itself where the rates are equal."""
    if rate == wanted:
        return wave
    found = soxr.resample(wave, rate, wanted) if resampler == "soxr" else _sinc(wave, rate, wanted)
    return np.asarray(found, np.float32)


def _sinc(wave: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Convolution with a sinc under a Hann window, as torchaudio's default does it."""
    divisor = math.gcd(rate, wanted)
    stride, phases = rate // divisor, wanted // divisor
    kernel, reach = _filters(stride, phases)
    padded = np.pad(np.asarray(wave, np.float32), (reach, reach + stride))
    heard = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[1])[::stride]
    return (heard @ kernel.T).reshape(-1)[: math.ceil(phases * len(wave) / stride)]


@functools.lru_cache(maxsize=8)
def _filters(stride: int, phases: int) -> tuple[np.ndarray, int]:
    """Of every `stride` samples `phases` are made, each by a filter of its own: float32
    [phases, taps], and how many of the taps lie before the first of those samples."""
    cutoff = _ROLLOFF * min(stride, phases)
    reach = math.ceil(_WIDTH * stride / cutoff)
    # Both positions are float32 there: with those of the samples in float64, rates that share few
    # factors come out 1e-5 away.
    samples = np.arange(-reach, reach + stride, dtype=np.float32) / np.float32(stride)
    places = np.arange(phases, dtype=np.float32) / np.float32(phases)
    times = (samples[None] - places[:, None]).astype(np.float64) * cutoff
    times = np.clip(times, -_WIDTH, _WIDTH)
    kernel = np.sinc(times) * np.cos(np.pi * times / (2 * _WIDTH)) ** 2 * cutoff / stride
    return kernel.astype(np.float32), reach
