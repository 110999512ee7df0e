"""Power spectrum and mel filters against their textbook definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.audio import dsp


def plain_power(x: np.ndarray, size: int, hop: int) -> np.ndarray:
    """|FFT|² of reflect-padded, periodic-Hann frames [f bins], float64."""
    padded = np.pad(x.astype(np.float64), size // 2, mode="reflect")
    window = np.hanning(size + 1)[:-1]
    starts = hop * np.arange(1 + len(x) // hop)
    return np.abs(np.fft.rfft(padded[starts[:, None] + np.arange(size)] * window)) ** 2


@pytest.mark.parametrize("samples", [129, 500, 513, 1001])
@pytest.mark.parametrize(("size", "hop", "first", "last"), [(256, 64, 0, 129), (64, 10, 3, 20)])
def test_the_folded_product_is_the_fourier_transform(
    samples: int, size: int, hop: int, first: int, last: int
) -> None:
    x = np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32)
    power = jax.jit(dsp.power_spectrum, static_argnums=(1, 2, 3, 4))(x, size, hop, first, last)
    bins = dsp.spectrum_bins(first, last)
    assert sorted(bins) == list(range(first, last))
    for row, got in zip(x, np.asarray(power), strict=True):
        expected = plain_power(row, size, hop)[:, bins]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_a_clip_too_short_to_reflect_is_refused_with_the_way_out() -> None:
    assert dsp.power_spectrum(jnp.zeros((1, 513)), 1024, 160, 0, 513).shape == (1, 4, 513)
    with pytest.raises(ValueError, match="512 samples is too short.*more than 512"):
        dsp.power_spectrum(jnp.zeros((1, 512)), 1024, 160, 0, 513)


def test_no_clips_are_no_error() -> None:
    assert dsp.power_spectrum(jnp.zeros((0, 600)), 256, 64, 0, 129).shape == (0, 10, 129)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scales_are_inverted_exactly(scale: dsp.MelScale) -> None:
    hz = np.array([0.0, 60.0, 999.9, 1000.0, 1000.1, 7800.0, 22050.0])
    np.testing.assert_allclose(dsp._mel_to_hz(dsp._hz_to_mel(hz, scale), scale), hz, atol=1e-9)


def test_published_points_of_the_mel_scales() -> None:
    slaney = dsp._hz_to_mel(np.array([0.0, 200.0, 1000.0, 6400.0]), "slaney")
    np.testing.assert_allclose(slaney, [0.0, 3.0, 15.0, 42.0])
    htk = dsp._hz_to_mel(np.array([0.0, 700.0, 6300.0]), "htk")
    np.testing.assert_allclose(htk, [0.0, 2595 * np.log10(2), 2595.0])


def test_filters_are_triangles_of_equal_area_or_equal_height() -> None:
    arguments = (16000, 16000, 20, 60.0, 7800.0, "htk")  # one bin a Hz: peaks are resolved
    plain = dsp.mel_filters(*arguments, False)
    area = dsp.mel_filters(*arguments, True)
    np.testing.assert_allclose(plain.max(axis=0), 1.0, atol=0.02)
    np.testing.assert_allclose(area.sum(axis=0), 1.0, atol=1e-3)
    # Between the first and the last peak neighbouring triangles add up to one.
    peaks = plain.argmax(axis=0)
    np.testing.assert_allclose(plain[peaks[0] + 1 : peaks[-1]].sum(axis=1), 1.0, atol=1e-9)
    assert not plain[:60].any() and not plain[7801:].any()
