"""The renderer: loudness, place, fades and the mix are what the scene says."""

from dataclasses import replace

import numpy as np
import pyloudnorm
import pytest

from adiff_jax.data.synth.layouts import Recording
from adiff_jax.data.synth.library import Library, Sound
from adiff_jax.data.synth.loudness import hop_edges, hop_powers
from adiff_jax.data.synth.render import heard_hops, heard_seconds, render, render_pair, within_range
from adiff_jax.data.synth.scenes import Channel, Event, Layer, Scene

RATE = 8_000
EVENT = Event("car_horn", "car_horn/train-0-0001", 2.5, 4.0, 6.0, 0.5)
LAYERS = (
    Layer("rain", "rain/train-0-0000", 0.2),
    Layer("rain", "rain/train-0-0002", 0.7),
)


def scene(*parts: Layer | Event, reference: float = -35.0, channel: Channel | None = None) -> Scene:
    return Scene(
        duration=10.0,
        reference_db=reference,
        background=tuple(p for p in parts if isinstance(p, Layer)),
        events=tuple(p for p in parts if isinstance(p, Event)),
        channel=channel,
    )


def loudness(wave: np.ndarray) -> float:
    return pyloudnorm.Meter(RATE).integrated_loudness(wave.astype(np.float64))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("level", [-10.0, 0.0, 10.0])
def test_a_background_has_the_reference_loudness_plus_its_level(
    library: Library, layer: Layer, level: float
) -> None:
    changed = Layer(layer.label, layer.recording, layer.position, level)
    wave = render(scene(changed), library)
    assert wave.shape == (80_000,) and wave.dtype == np.float32
    assert loudness(wave) == pytest.approx(-35.0 + level, abs=0.1)


@pytest.mark.parametrize("snr", [0.0, 6.0, 15.0])
def test_an_event_has_its_level_over_the_reference_where_it_is_heard(
    library: Library, snr: float
) -> None:
    wave = render(scene(replace(EVENT, snr_db=snr)), library)
    heard = wave[20_000 : 20_000 + 32_000]
    assert loudness(heard) == pytest.approx(-35.0 + snr, abs=0.2)
    assert not wave[:20_000].any() and not wave[52_000:].any()


def test_a_mix_is_the_sum_of_its_parts(library: Library) -> None:
    parts = [render(scene(part), library) for part in (*LAYERS, EVENT)]
    whole = render(scene(*LAYERS, EVENT), library)
    np.testing.assert_allclose(whole, sum(parts), atol=1e-6)


def square_wave(recording: Recording) -> np.ndarray:
    """5 s whose every sample is as large as any other."""
    return np.where(np.arange(5 * RATE) % 16 < 8, 0.5, -0.5).astype(np.float32)


def test_events_fade_in_and_out_over_ten_milliseconds_and_backgrounds_do_not() -> None:
    hum = Recording("hum", "hum", "hum", 0)
    squares = Library([hum], [], square_wave, RATE)
    event = np.abs(render(scene(Event("hum", "hum", 1.0, 3.0, 0.0, 0.0)), squares))
    level = event[2 * RATE]
    fade = event[RATE : RATE + 80] / level
    np.testing.assert_allclose(fade, np.sin(np.pi / 2 * np.arange(80) / 80), atol=1e-5)
    np.testing.assert_allclose(event[4 * RATE - 80 : 4 * RATE][::-1] / level, fade, atol=1e-5)
    assert np.ptp(event[RATE + 80 : 4 * RATE - 80]) == 0
    edges = np.abs(render(scene(Layer("hum", "hum", 0.5)), squares))[[0, 1, 2, -3, -2, -1]]
    np.testing.assert_allclose(edges, edges[0])


def test_a_short_background_is_looped_without_a_click(library: Library) -> None:
    """5 s of rain fill 10 s: the second half repeats the first, and the seam is no jump."""
    layer = Layer("traffic", "traffic/train-0-0001", 0.0)
    wave = render(scene(layer), library)
    loop = library.loop(library.recording(layer.recording)).wave
    again = wave[len(loop) : 2 * len(loop)]
    np.testing.assert_allclose(again, wave[: len(again)], atol=1e-7)
    jumps = np.abs(np.diff(wave))
    assert jumps[len(loop) - 2 : len(loop) + 2].max() < np.percentile(jumps, 99.9)


def test_an_event_always_plays_the_loudest_moment_of_its_recording() -> None:
    rng = np.random.default_rng(0)
    wave = 1e-3 * rng.standard_normal(5 * RATE).astype(np.float32)
    wave[int(3.2 * RATE) : int(3.6 * RATE)] *= 500
    sound = Sound(wave, hop_powers(wave, RATE), hop_edges(len(wave), RATE), 1.0)
    starts = set()
    for position in np.linspace(0, 0.9999, 50):
        start, stop = heard_hops(Event("x", "x", 0.0, 3.0, 0.0, float(position)), sound)
        starts.add(start)
        assert 0 <= start <= 320 and stop == start + 300 and 360 <= stop <= 500
    assert len(starts) > 20


def test_an_event_longer_than_its_recording_plays_all_of_it() -> None:
    wave = np.ones(RATE // 4, np.float32)
    sound = Sound(wave, hop_powers(wave, RATE), hop_edges(len(wave), RATE), 1.0)
    assert heard_hops(Event("x", "x", 0.0, 3.0, 0.0, 0.9), sound) == (0, 25)


def test_an_event_is_heard_no_longer_than_its_recording() -> None:
    def short(recording: Recording) -> np.ndarray:
        return square_wave(recording)[: RATE // 4]

    library = Library([Recording("hum", "hum", "hum", 0)], [], short, RATE)
    event = Event("hum", "hum", 1.0, 3.0, 0.0, 0.9)
    assert heard_seconds(event, library) == 0.25
    assert heard_seconds(replace(event, duration=0.1), library) == pytest.approx(0.1)
    wave = render(scene(event), library)
    assert np.flatnonzero(wave)[-1] < 1.25 * RATE


def test_loud_pairs_are_scaled_together_and_never_clipped(library: Library) -> None:
    soft, loud = scene(*LAYERS, EVENT, reference=-20.0), scene(*LAYERS, EVENT, reference=5.0)
    raw = render(soft, library), render(loud, library)
    waves = render_pair(soft, loud, library)
    assert np.abs(raw[1]).max() > 1
    assert max(np.abs(wave).max() for wave in waves) == pytest.approx(0.99, abs=1e-4)
    ratio = np.linalg.norm(raw[1]) / np.linalg.norm(raw[0])
    assert np.linalg.norm(waves[1]) / np.linalg.norm(waves[0]) == pytest.approx(ratio, rel=1e-4)
    assert np.corrcoef(raw[1], waves[1])[0, 1] == pytest.approx(1, abs=1e-6)


def test_pairs_in_range_are_left_as_they_are() -> None:
    wave = np.linspace(-0.9, 0.9, 100, dtype=np.float32)
    assert within_range(wave, 0.1 * wave)[0] is wave


def test_a_channel_applies_its_gain_equaliser_and_noise(library: Library) -> None:
    plain = render(scene(*LAYERS), library)
    gain = render(scene(*LAYERS, channel=Channel(6.0, (0.0,) * 4, -200.0, 1)), library)
    np.testing.assert_allclose(gain, plain * 10 ** (6 / 20), atol=1e-5)
    bass = render(scene(*LAYERS, channel=Channel(0.0, (6.0, 0.0, 0.0, 0.0), -200.0, 1)), library)
    ratio_db = 20 * np.log10(np.abs(np.fft.rfft(bass)) / np.abs(np.fft.rfft(plain)))
    hertz = np.fft.rfftfreq(80_000, 1 / RATE)
    assert np.median(ratio_db[(hertz > 60) & (hertz < 120)]) == pytest.approx(6, abs=0.1)
    assert np.median(ratio_db[(hertz > 600) & (hertz < 3500)]) == pytest.approx(0, abs=0.1)
    noisy = render(scene(*LAYERS, channel=Channel(0.0, (0.0,) * 4, -20.0, 1)), library)
    noise_db = 20 * np.log10(np.std(noisy - plain) / np.std(plain))
    assert noise_db == pytest.approx(-20, abs=0.1)


def test_a_scene_of_another_library_is_refused(library: Library) -> None:
    with pytest.raises(ValueError, match="no recording 'cat/1'"):
        render(scene(Event("cat", "cat/1", 0.0, 3.0, 0.0, 0.0)), library)
