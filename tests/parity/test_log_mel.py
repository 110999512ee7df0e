"""Log-mel frontends against the published implementations."""

from functools import partial

import jax
import numpy as np
import pytest

from adiff_jax.audio.frontends import BYOLA, BYOLA_HTK, CL4AC, CNN10, HTSAT, LogMel, log_mel
from tests.audio.test_dsp import plain_power
from tests.golden.recipes import adiff_audio, clip
from tests.goldens import golden


def computed(config: LogMel, *clips: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(partial(log_mel, config))(np.stack(clips)))


@pytest.mark.parametrize(("config", "name"), [(BYOLA, "nnaudio"), (BYOLA_HTK, "torchaudio")])
def test_byola(config: LogMel, name: str) -> None:
    features = computed(config, clip(0), clip(1))
    assert features.shape == (2, 1001, 64)
    golds = golden("byola_golden")
    for number in (0, 1):
        expected = golds[f"lms_{name}_clip{number}_sub"].T
        np.testing.assert_allclose(features[number, ::10, ::4], expected, rtol=1e-4, atol=1e-3)
        moments = features[number].mean(dtype=np.float64), features[number].std(dtype=np.float64)
        np.testing.assert_allclose(
            moments, golds[f"lms_{name}_clip{number}_meanstd"], rtol=1e-4, atol=1e-3
        )


def test_htsat_to_a_thousandth_of_a_decibel() -> None:
    features = computed(HTSAT, adiff_audio(101), adiff_audio(102))
    assert features.shape == (2, 1001, 64)
    golds = golden("log_mels")
    np.testing.assert_allclose(features[:, golds["htsat_frames"]], golds["htsat"], atol=1e-3)


def test_cnn10() -> None:
    features = computed(CNN10, clip(0, 32000), clip(1, 32000))
    golds = golden("log_mels")
    for number in (0, 1):
        np.testing.assert_allclose(
            features[number, ::10, ::4], golds[f"cnn10_clip{number}"], rtol=1e-4, atol=1e-3
        )


def slaney_filters(rate: int, size: int, mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Slaney scale and area norm, filter by filter and bin by bin."""

    def to_hz(mel: float) -> float:
        return 200 / 3 * mel if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    def to_mel(hz: float) -> float:
        return 3 * hz / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    edges = [to_hz(mel) for mel in np.linspace(to_mel(fmin), to_mel(fmax), mels + 2)]
    filters = np.zeros((size // 2 + 1, mels))
    for mel in range(mels):
        for k in range(size // 2 + 1):
            filters[k, mel] = np.interp(k * rate / size, edges[mel : mel + 3], [0.0, 1.0, 0.0])
        filters[:, mel] *= 2 / (edges[mel + 2] - edges[mel])
    return filters


def test_cl4ac_against_a_plain_transform_in_float64() -> None:
    wave = clip(0, 44100, seconds=1.5)
    power = plain_power(wave, 1024, 512)
    mel = power @ slaney_filters(44100, 1024, 64, 50.0, 14000.0)
    expected = 10 * np.log10(np.maximum(mel, 1e-10))
    features = computed(CL4AC, wave)[0]
    assert features.shape == (1 + len(wave) // 512, 64)
    np.testing.assert_allclose(features, expected, atol=1e-3)
