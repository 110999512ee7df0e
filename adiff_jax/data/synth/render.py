"""Scenes to audio. Every part is brought to its loudness (BS.1770), faded, placed and summed.

A background layer is heard throughout, looped if its recording is short, and has no fades; an
event has raised-sine fades of 10 ms. The two clips of a pair are scaled together if either would
clip, so that levels between them stay what the scenes say.
"""

import numpy as np

from adiff_jax.data.synth.library import Library, Sound
from adiff_jax.data.synth.loudness import (
    BLOCK_HOPS,
    HOPS_PER_SECOND,
    loudest_block,
    loudness,
)
from adiff_jax.data.synth.scenes import Channel, Event, Layer, Scene

PEAK = 0.99
_FADE_SECONDS = 0.01
_EQUALISER_HERTZ = (125.0, 500.0, 2000.0, 8000.0)


def render(scene: Scene, library: Library) -> np.ndarray:
    """float32 [duration * rate]; may exceed ±1: see `within_range`.

    Raises ValueError when the scene names a recording that the library does not have.
    """
    wave = np.zeros(round(scene.duration * library.rate), np.float32)
    for layer in scene.background:
        _add_layer(wave, layer, scene.reference_db, library)
    for event in scene.events:
        _add_event(wave, event, scene.reference_db, library)
    return wave if scene.channel is None else _through(wave, scene.channel, library.rate)


def render_pair(first: Scene, second: Scene, library: Library) -> tuple[np.ndarray, np.ndarray]:
    """Both clips, float32, within ±1 and at the levels relative to each other that they have."""
    first_wave, second_wave = within_range(render(first, library), render(second, library))
    return first_wave, second_wave


def within_range(*waves: np.ndarray) -> tuple[np.ndarray, ...]:
    """The waves, scaled by one common factor if any of them peaks above 0.99."""
    peak = max(float(np.abs(wave).max()) for wave in waves)
    if peak <= PEAK:
        return waves
    return tuple(wave * np.float32(PEAK / peak) for wave in waves)


def heard_hops(event: Event, sound: Sound) -> tuple[int, int]:
    """The part of the recording that an event plays: first and past-the-end hop.

    Of all parts of the event's length, one that contains the loudest 400 ms, so that a bark in a
    long silence is never cut to the silence.
    """
    available = len(sound.powers)
    length = max(1, min(round(event.duration * HOPS_PER_SECOND), available))
    loudest = loudest_block(sound.powers)
    earliest = max(0, loudest + min(BLOCK_HOPS, length) - length)
    latest = min(loudest, available - length)
    earliest = min(earliest, latest)
    start = earliest + int(event.position * (latest - earliest + 1))
    return start, start + length


def heard_seconds(event: Event, library: Library) -> float:
    """How long an event sounds: a recording shorter than its duration ends before it."""
    sound = library.sound(library.recording(event.recording))
    start, stop = heard_hops(event, sound)
    return float(sound.edges[stop] - sound.edges[start]) / library.rate


def _add_layer(wave: np.ndarray, layer: Layer, reference_db: float, library: Library) -> None:
    sound = library.loop(library.recording(layer.recording))
    hops = len(sound.powers)
    needed = round(len(wave) * HOPS_PER_SECOND / library.rate)
    start = int(layer.position * hops)
    heard = sound.powers[(start + np.arange(needed)) % hops]
    gain = _gain(reference_db + layer.level_db, heard, layer.recording)
    source = sound.wave * gain
    offset = sound.edges[start]
    done = 0
    while done < len(wave):
        piece = source[offset : offset + len(wave) - done]
        wave[done : done + len(piece)] += piece
        done += len(piece)
        offset = 0


def _add_event(wave: np.ndarray, event: Event, reference_db: float, library: Library) -> None:
    sound = library.sound(library.recording(event.recording))
    start, stop = heard_hops(event, sound)
    gain = _gain(reference_db + event.snr_db, sound.powers[start:stop], event.recording)
    piece = sound.wave[sound.edges[start] : sound.edges[stop]] * gain
    fade = min(round(_FADE_SECONDS * library.rate), len(piece) // 2)
    rise = np.sin(np.arange(fade, dtype=np.float32) * np.float32(np.pi / 2 / max(1, fade)))
    piece[:fade] *= rise
    piece[len(piece) - fade :] *= rise[::-1]
    onset = round(event.onset * library.rate)
    piece = piece[: len(wave) - onset]
    wave[onset : onset + len(piece)] += piece


def _gain(wanted_db: float, powers: np.ndarray, name: str) -> np.float32:
    measured = loudness(powers)
    if not np.isfinite(measured):
        raise ValueError(f"the part of {name} that the scene plays is silent; leave the clip out")
    return np.float32(10 ** ((wanted_db - measured) / 20))


def _through(wave: np.ndarray, channel: Channel, rate: int) -> np.ndarray:
    """`wave` after the channel's equaliser, gain and noise."""
    spectrum = np.fft.rfft(wave)
    hertz = np.fft.rfftfreq(len(wave), 1 / rate)
    octaves = np.log2(np.maximum(hertz, 1.0))
    curve_db = np.interp(octaves, np.log2(_EQUALISER_HERTZ), channel.equaliser_db)
    shaped = np.fft.irfft(spectrum * 10 ** (curve_db / 20), len(wave)).astype(np.float32)
    noise = np.random.default_rng(channel.noise_seed).standard_normal(len(wave), np.float32)
    level = np.float32(10 ** (channel.noise_db / 20)) * np.sqrt(np.mean(np.square(shaped)))
    return (shaped + level * noise) * np.float32(10 ** (channel.gain_db / 20))
