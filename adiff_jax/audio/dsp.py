"""Power spectrum and mel filters, written so that every row stays on its device.

`jnp.fft` on a batch-sharded input gathers the whole batch on every CPU and GPU device, so the
spectrum is a DFT matrix product. For a real signal under a symmetric window the product folds
twice: the real part only sees x[i] + x[N-i], the imaginary part x[i] - x[N-i], and even and odd
bins see the sums and differences of these about N/4: a quarter of the plain product's work.
Matrices are made in float64 and stored in float32; products run at highest precision, because TPUs
and GPUs otherwise round their operands to bfloat16 or TF32.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MelScale = Literal["slaney", "htk"]

_SLANEY_STEP = 200.0 / 3.0  # Hz per mel below 1 kHz
_SLANEY_KNEE = 1000.0  # Hz; above it the scale is logarithmic
_SLANEY_LOG_STEP = math.log(6.4) / 27.0


def _frames(
    x: Float[Array, "b n"], first: int, hop: int, count: int, size: int
) -> Float[Array, "b f size"]:
    """x[:, start : start + size] for the `count` starts first, first + hop, ...

    Cut by reshapes: a gather becomes a loop over the frames on a TPU.
    """
    runs = -(-size // hop)  # of `hop` samples, that a frame goes over
    needed = (count + runs - 1) * hop
    x = x[:, first : first + needed]
    cut = jnp.pad(x, ((0, 0), (0, needed - x.shape[1]))).reshape(x.shape[0], count + runs - 1, hop)
    parts = [cut[:, run : run + count, : size - run * hop] for run in range(runs)]
    return jnp.concatenate(parts, axis=-1)


@functools.lru_cache(maxsize=32)
def _folded_dft(size: int, first: int, last: int) -> tuple[np.ndarray, ...]:
    """Window [size/2 + 1] and the four matrices of `power_spectrum`, float32."""
    half, quarter = size // 2, size // 4
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(half + 1) / size)  # periodic Hann
    bins = spectrum_bins(first, last)
    even, odd = bins[bins % 2 == 0], bins[bins % 2 == 1]

    def angle(samples: np.ndarray, of: np.ndarray) -> np.ndarray:
        # Reduced modulo one turn in integers, so that it is exact for every bin.
        return 2 * np.pi * (np.outer(samples, of) % size) / size

    to_middle, inside = np.arange(quarter + 1), np.arange(1, quarter + 1)
    matrices = (
        np.cos(angle(to_middle, even)),
        np.cos(angle(to_middle[:-1], odd)),
        np.sin(angle(inside[:-1], even)),
        np.sin(angle(inside, odd)),
    )
    return tuple(m.astype(np.float32) for m in (window, *matrices))


def spectrum_bins(first: int, last: int) -> np.ndarray:
    """The order in which `power_spectrum` returns its bins: even ones, then odd ones."""
    bins = np.arange(first, last)
    return np.concatenate([bins[bins % 2 == 0], bins[bins % 2 == 1]])


def power_spectrum(
    x: Float[Array, "b n"], size: int, hop: int, first: int, last: int
) -> Float[Array, "b f bins"]:
    """|DFT|² of centred, Hann-windowed frames, float32, bins `spectrum_bins(first, last)`.

    `size // 2` samples are reflected on both sides; there are `1 + n // hop` frames. `size` is a
    multiple of 4. Raises ValueError when the clip is too short to reflect.
    """
    samples, half, quarter = x.shape[-1], size // 2, size // 4
    if samples <= half:
        raise ValueError(
            f"a clip of {samples} samples is too short for a window of {size}; "
            f"pad clips to more than {half} samples"
        )
    x = jnp.pad(x, ((0, 0), (half, half)), mode="reflect")
    count = 1 + samples // hop
    # A frame is read as four runs of a quarter each: inward from both ends, outward from the
    # middle. Two of them run backwards, so they are read from the reversed signal (one sample
    # late, because sample `size - 0` of a frame lies outside it and has window weight zero).
    backward = jnp.pad(x[:, ::-1], ((0, 0), (1, 0)))
    end = x.shape[-1] - hop * (count - 1)  # where the last frame begins, from the end
    run = quarter + 1
    from_left = _frames(x, 0, hop, count, run)
    from_right = _frames(backward, end - size, hop, count, run)[:, ::-1]
    middle_left = _frames(backward, end - half, hop, count, run)[:, ::-1]
    middle_right = _frames(x, half, hop, count, run)

    window, cos_even, cos_odd, sin_even, sin_odd = _folded_dft(size, first, last)
    inward, outward = window[:run], window[half : quarter - 1 : -1].copy()
    shared_middle = np.ones(run, np.float32)
    shared_middle[0] = 0.5  # the middle sample is in both middle runs
    shared_quarter = np.ones(run, np.float32)
    shared_quarter[-1] = 0.5  # so is the quarter sample in an inward and an outward run
    even = (from_left + from_right) * inward
    even_back = (middle_left + middle_right) * (outward * shared_middle)
    odd, odd_back = (from_left - from_right) * inward, (middle_left - middle_right) * outward

    def product(folded: jax.Array, matrix: np.ndarray) -> jax.Array:
        return jnp.einsum("bfi,ik->bfk", folded, matrix, precision=jax.lax.Precision.HIGHEST)

    real_even = product((even + even_back) * shared_quarter, cos_even)
    real_odd = product((even - even_back)[..., :quarter], cos_odd)
    imag_even = product((odd - odd_back)[..., 1:quarter], sin_even)
    imag_odd = product(((odd + odd_back) * shared_quarter)[..., 1:], sin_odd)
    return jnp.concatenate([real_even**2 + imag_even**2, real_odd**2 + imag_odd**2], axis=-1)


def _hz_to_mel(hz: np.ndarray, scale: MelScale) -> np.ndarray:
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    above = _SLANEY_KNEE / _SLANEY_STEP + np.log(np.maximum(hz, 1e-9) / _SLANEY_KNEE) / (
        _SLANEY_LOG_STEP
    )
    return np.where(hz < _SLANEY_KNEE, hz / _SLANEY_STEP, above)


def _mel_to_hz(mel: np.ndarray, scale: MelScale) -> np.ndarray:
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    knee = _SLANEY_KNEE / _SLANEY_STEP
    above = _SLANEY_KNEE * np.exp(_SLANEY_LOG_STEP * (mel - knee))
    return np.where(mel < knee, mel * _SLANEY_STEP, above)


@functools.lru_cache(maxsize=32)
def mel_filters(
    rate: int, size: int, mels: int, fmin: float, fmax: float, scale: MelScale, area_norm: bool
) -> np.ndarray:
    """Triangular mel filters [size // 2 + 1, mels], float64.

    `scale` is "slaney" (linear below 1 kHz) or "htk"; `area_norm` divides every triangle by half
    its width in Hz (Slaney's normalisation).
    """
    low, high = _hz_to_mel(np.array([fmin, fmax], np.float64), scale)
    edges = _mel_to_hz(np.linspace(low, high, mels + 2), scale)
    bins = np.arange(size // 2 + 1) * rate / size
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if area_norm:
        filters = filters * (2.0 / (edges[2:] - edges[:-2]))
    return filters
