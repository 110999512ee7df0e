"""Loudness from pre-filtered hops against pyloudnorm, and what the standard leaves open."""

import numpy as np
import pyloudnorm
import pytest

from adiff_jax.data.synth.loudness import hop_edges, hop_powers, loudest_block, loudness

RATE = 16_000


def uneven_noise(rate: int = RATE, seconds: float = 5.0) -> np.ndarray:
    """Noise with loud and soft stretches, so that the relative gate has something to do."""
    rng = np.random.default_rng(3)
    wave = 0.1 * rng.standard_normal(int(rate * seconds))
    return wave * np.repeat(10 ** (rng.uniform(-30, 0, 10) / 20), len(wave) // 10)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_a_whole_recording_measures_as_in_pyloudnorm(rate: int) -> None:
    wave = uneven_noise(rate)
    expected = pyloudnorm.Meter(rate).integrated_loudness(wave)
    assert loudness(hop_powers(wave, rate)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("seconds", [0.4, 0.7, 3.0, 4.2])
@pytest.mark.parametrize("start", [0, 33, 71])
def test_a_segment_measures_as_if_filtered_by_itself(seconds: float, start: int) -> None:
    wave = uneven_noise()
    powers = hop_powers(wave, RATE)[start : start + round(100 * seconds)]
    segment = wave[start * 160 : (start + round(100 * seconds)) * 160]
    expected = pyloudnorm.Meter(RATE).integrated_loudness(segment)
    assert loudness(powers) == pytest.approx(expected, abs=0.1)


def test_a_gain_adds_its_decibels() -> None:
    wave = uneven_noise()
    louder = loudness(hop_powers(2 * wave, RATE)) - loudness(hop_powers(wave, RATE))
    assert louder == pytest.approx(20 * np.log10(2), abs=1e-6)


def test_a_short_segment_is_one_ungated_block_over_its_own_length() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    powers = hop_powers(tone, RATE)[50:]
    assert loudness(powers[:20]) == pytest.approx(loudness(powers), abs=0.01)


def test_silence_is_minus_infinity_and_near_silence_is_not() -> None:
    assert loudness(np.zeros(100)) == -np.inf
    assert loudness(np.zeros(10)) == -np.inf
    under_the_gate = loudness(hop_powers(1e-5 * uneven_noise(), RATE))
    assert -160 < under_the_gate < -100


def test_the_loudest_block_is_where_the_burst_is() -> None:
    powers = np.full(300, 1e-6)
    powers[120:160] = 1.0
    assert loudest_block(powers) == 120
    assert loudest_block(powers[:30]) == 0


def test_hop_edges_cover_all_but_a_partial_hop_at_any_rate() -> None:
    for rate in (8_000, 22_050, 44_100):
        edges = hop_edges(rate + 10, rate)
        assert (edges[0], edges[-1], len(edges)) == (0, rate, 101)
        assert set(np.diff(edges)) <= {rate // 100, rate // 100 + 1}
    with pytest.raises(ValueError, match="shorter than one 10 ms hop"):
        hop_powers(np.ones(100), RATE)
