"""Sounds made of numbers: two backgrounds and six events, so that nothing is ever downloaded.

Every generator is a function of named parameters, each drawn from its own span. Held-out
recordings take every parameter from a gap in the middle of its span that training recordings
never enter: training knows both sides of the gap, not the gap.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

SECONDS = 5.0
TRAIN_PARTS = ((0.0, 0.38), (0.62, 1.0))  # of every span
HELDOUT_PART = (0.40, 0.60)

Values = Mapping[str, float]


@dataclass(frozen=True)
class Span:
    """The range of a parameter; `log` draws evenly in octaves."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """The value at `share` in [0, 1] of the span."""
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share


@dataclass(frozen=True)
class Generator:
    """A class of sounds: `make(values, rng, rate)` gives a wave from a value in every span."""

    spans: Mapping[str, Span]
    make: Callable[[Values, np.random.Generator, int], np.ndarray]


def draw_values(
    label: str, split: Literal["train", "heldout"], rng: np.random.Generator
) -> dict[str, float]:
    """Parameters of one recording of `label`, from the ranges of `split`."""
    values = {}
    for name, span in GENERATORS[label].spans.items():
        low, high = HELDOUT_PART if split == "heldout" else TRAIN_PARTS[rng.integers(2)]
        values[name] = span.at(rng.uniform(low, high))
    return values


def generate(
    label: str, split: Literal["train", "heldout"], seed: int, index: int, rate: int
) -> np.ndarray:
    """Recording `index` of `label`: float32 [5 s], peak 0.5; the same on every machine."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{label}/{split}".encode()), index])
    values = draw_values(label, split, rng)
    wave = GENERATORS[label].make(values, rng, rate)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def _noise(
    rng: np.random.Generator, samples: int, rate: int, low: float, high: float, slope: float = 0.0
) -> np.ndarray:
    """Gaussian noise between `low` and `high` Hz, its amplitude falling as frequency^-slope."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / rate)
    hertz[0] = hertz[1]
    skirts = 1 / np.sqrt((1 + (low / hertz) ** 6) * (1 + (hertz / high) ** 6))
    noise = np.fft.irfft(spectrum * skirts * (hertz / 1000) ** -slope, samples)
    return noise / noise.std()


def _time(seconds: float, rate: int) -> np.ndarray:
    return np.arange(int(seconds * rate)) / rate


def _harmonics(phase: np.ndarray, count: int, falloff: float) -> np.ndarray:
    return sum(np.sin(k * phase) / k**falloff for k in range(1, count + 1))


def _count_below(frequency: float, rate: int, most: int) -> int:
    """How many harmonics of `frequency` stay under the Nyquist frequency."""
    return max(1, min(most, int(0.45 * rate / frequency)))


def _place(pieces: list[tuple[float, np.ndarray]], rate: int) -> np.ndarray:
    """Sum of (onset in s, wave), cut at the length of a recording."""
    wave = np.zeros(int(SECONDS * rate))
    for onset, piece in pieces:
        start = int(onset * rate)
        piece = piece[: max(0, len(wave) - start)]
        wave[start : start + len(piece)] += piece
    return wave


def _rain(values: Values, rng: np.random.Generator, rate: int) -> np.ndarray:
    samples = int(SECONDS * rate)
    hiss = _noise(rng, samples, rate, values["low"], 0.45 * rate, values["slope"])
    drops = np.zeros(samples)
    at = rng.integers(0, samples, int(values["drops"] * SECONDS))
    drops[at] = rng.exponential(1.0, len(at))
    ring = np.exp(-_time(0.01, rate) * 900) * np.sin(2 * np.pi * 2500 * _time(0.01, rate))
    patter = np.convolve(drops, ring, mode="same")
    return hiss + 0.7 * patter / patter.std()


def _traffic(values: Values, rng: np.random.Generator, rate: int) -> np.ndarray:
    time = _time(SECONDS, rate)
    road = _noise(rng, len(time), rate, 40.0, values["cutoff"], 0.7)
    phase = 2 * np.pi * rng.uniform()
    passing = 1 + 0.5 * np.sin(2 * np.pi * values["passing"] * time + phase)
    hum = _harmonics(2 * np.pi * values["engine"] * time, 8, 1.0)
    return road * passing + 0.5 * hum


def _bark(values: Values, rng: np.random.Generator, rate: int) -> np.ndarray:
    pieces = []
    onset = 0.0
    while onset < SECONDS - values["length"]:
        time = _time(values["length"], rate)
        pitch = values["pitch"] * (1.25 - 0.5 * time / values["length"])
        phase = 2 * np.pi * np.cumsum(pitch) / rate
        count = _count_below(1.25 * values["pitch"], rate, 10)
        voice = _harmonics(phase, count, 0.7)
        breath = _noise(rng, len(time), rate, 500.0, 3000.0)
        envelope = np.sin(np.pi * (time / values["length"]) ** 0.5) ** 1.5
        pieces.append((onset, (voice + values["breath"] * breath) * envelope))
        onset += values["length"] + values["gap"] * rng.uniform(0.9, 1.1)
    return _place(pieces, rate)


def _horn(values: Values, rng: np.random.Generator, rate: int) -> np.ndarray:
    pieces = []
    onset = 0.0
    while onset < SECONDS - 0.3:
        time = _time(values["length"], rate)
        tone = np.zeros(len(time))
        for pitch in (values["pitch"], values["pitch"] * values["interval"]):
            phase = 2 * np.pi * pitch * time + rng.uniform(0, 2 * np.pi)
            tone += _harmonics(phase, _count_below(pitch, rate, 12), 0.5)
        envelope = np.minimum(1, np.minimum(time, time[-1] - time) / 0.02)
        pieces.append((onset, tone * envelope))
        onset += values["length"] + values["gap"]
    return _place(pieces, rate)


_BELL_PARTIALS = ((0.5, 0.6), (1.0, 1.0), (1.19, 0.7), (1.5, 0.5), (2.0, 0.7), (2.74, 0.4))


def _bell(values: Values, rng: np.random.Generator, rate: int) -> np.ndarray:
    pieces = []
    for strike in np.arange(0, SECONDS - 0.3, values["gap"]):
        time = _time(SECONDS - strike, rate)
        tone = sum(
            strength
            * np.sin(2 * np.pi * ratio * values["pitch"] * time + rng.uniform(0, 2 * np.pi))
            * np.exp(-time * ratio / values["decay"])
            for ratio, strength in _BELL_PARTIALS
        )
        pieces.append((strike, tone * np.minimum(1, time / 0.003)))
    return _place(pieces, rate)


def _thunder(values: Values, rng: np.random.Generator, rate: int) -> np.ndarray:
    time = _time(SECONDS, rate)
    rumble = _noise(rng, len(time), rate, 25.0, values["cutoff"], 0.5)
    rolls = np.zeros(len(time))
    for onset in np.arange(0, SECONDS, values["roll"]):
        since = time - onset * rng.uniform(0.9, 1.1)
        strength = rng.uniform(0.6, 1.0)
        rolls += strength * np.where(since > 0, np.exp(-since / values["decay"]), 0)
    crack = _noise(rng, len(time), rate, 100.0, 2500.0) * np.exp(-time / 0.08)
    return rumble * rolls + 0.7 * crack


def _footsteps(values: Values, rng: np.random.Generator, rate: int) -> np.ndarray:
    pieces = []
    for step in np.arange(0, SECONDS - 0.1, 1 / values["pace"]):
        time = _time(0.12, rate)
        thud = np.sin(2 * np.pi * values["thud"] * time) * np.exp(-time / 0.025)
        scrape = _noise(rng, len(time), rate, values["scrape"], 2 * values["scrape"])
        scrape *= np.exp(-((time - 0.03) ** 2) / 2e-4)
        pieces.append((step + rng.uniform(0, 0.02), thud + 0.35 * scrape))
    return _place(pieces, rate)


def _chirps(values: Values, rng: np.random.Generator, rate: int) -> np.ndarray:
    pieces = []
    onset = 0.0
    while onset < SECONDS - 0.2:
        for note in range(4):
            time = _time(values["note"], rate)
            sweep = values["pitch"] * (1 + values["sweep"] * time / values["note"])
            phase = 2 * np.pi * np.cumsum(sweep) / rate
            envelope = np.sin(np.pi * time / values["note"])
            pieces.append((onset + note * 1.4 * values["note"], np.sin(phase) * envelope))
        onset += 5.6 * values["note"] + values["gap"] * rng.uniform(0.8, 1.2)
    return _place(pieces, rate)


BACKGROUNDS = ("rain", "traffic")

GENERATORS: Mapping[str, Generator] = {
    "rain": Generator(
        {
            "low": Span(300.0, 900.0, log=True),
            "slope": Span(0.0, 0.6),
            "drops": Span(40.0, 400.0, log=True),
        },
        _rain,
    ),
    "traffic": Generator(
        {
            "cutoff": Span(250.0, 700.0, log=True),
            "engine": Span(40.0, 90.0, log=True),
            "passing": Span(0.1, 0.6),
        },
        _traffic,
    ),
    "dog_bark": Generator(
        {
            "pitch": Span(280.0, 560.0, log=True),
            "length": Span(0.15, 0.32),
            "gap": Span(0.15, 0.7),
            "breath": Span(0.3, 1.0),
        },
        _bark,
    ),
    "car_horn": Generator(
        {
            "pitch": Span(300.0, 480.0, log=True),
            "interval": Span(1.18, 1.34),
            "length": Span(0.6, 1.6),
            "gap": Span(0.2, 0.6),
        },
        _horn,
    ),
    "bell": Generator(
        {
            "pitch": Span(600.0, 1400.0, log=True),
            "decay": Span(0.6, 2.0),
            "gap": Span(0.8, 1.8),
        },
        _bell,
    ),
    "thunder": Generator(
        {
            "cutoff": Span(90.0, 260.0, log=True),
            "decay": Span(0.4, 1.2),
            "roll": Span(0.6, 1.6),
        },
        _thunder,
    ),
    "footsteps": Generator(
        {
            "pace": Span(1.4, 2.8),
            "thud": Span(70.0, 150.0, log=True),
            "scrape": Span(900.0, 2600.0, log=True),
        },
        _footsteps,
    ),
    "bird_chirps": Generator(
        {
            "pitch": Span(2600.0, 4600.0, log=True),
            "sweep": Span(0.1, 0.45),
            "note": Span(0.05, 0.14),
            "gap": Span(0.2, 0.8),
        },
        _chirps,
    ),
}

LABELS = tuple(GENERATORS)
