"""From one sampling rate to another."""

import math

import numpy as np
import pytest

from adiff_jax.audio.resample import Resampler, resample
from tests.goldens import golden

RATES = (8000, 16000, 22050, 24000, 44100, 48000, 96000)


def tone_in_noise(rate: int) -> np.ndarray:
    """The input of the goldens."""
    n = rate // 4 + 7
    noise = np.random.default_rng(rate + 1000).standard_normal(n)
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(n) / rate) + 0.1 * noise).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_the_windowed_sinc_is_torchaudios(rate: int) -> None:
    found = resample(tone_in_noise(rate), rate, 32_000, "windowed-sinc")
    expected = golden("resample")[f"y_{rate}"]
    assert found.shape == expected.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("resampler", ["soxr", "windowed-sinc"])
@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_level_and_duration(rate: int, resampler: Resampler) -> None:
    def tone(at: int) -> np.ndarray:
        return np.sin(2 * np.pi * 1000 * np.arange(at // 2) / at).astype(np.float32)

    found = resample(tone(rate), rate, 32_000, resampler)
    assert len(found) == math.ceil(32_000 * (rate // 2) / rate)
    middle = slice(1000, -1000)
    np.testing.assert_allclose(found[middle], tone(32_000)[middle], atol=2e-3)


@pytest.mark.parametrize("resampler", ["soxr", "windowed-sinc"])
def test_a_clip_at_the_wanted_rate_is_not_touched(resampler: Resampler) -> None:
    wave = tone_in_noise(8000)
    assert resample(wave, 8000, 8000, resampler) is wave
