"""Labelled recordings to build scenes from: made on the spot, or any folder of labelled clips.

Recordings, not files, are the unit of every split: several takes of one original recording stay
on one side. Opening a library reads no audio; waves are decoded when first heard and kept.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from adiff_jax.audio.io import check_wave, read_audio
from adiff_jax.data.synth import generators, layouts
from adiff_jax.data.synth.layouts import Recording
from adiff_jax.data.synth.loudness import HOPS_PER_SECOND, hop_edges, hop_powers

_TRIM = 1e-3  # of the peak (-60 dB): lossy codecs turn digital silence into less than this
_LOOP_FADE_SECONDS = 0.05


@dataclass(frozen=True)
class Procedural:
    """Sounds made by `generators`, so that nothing is ever downloaded.

    `split` chooses the parameter ranges: those of "heldout" are disjoint from those of "train"
    for every parameter of every generator.
    """

    split: Literal["train", "heldout"] = "train"
    recordings_per_class: int = 40
    seed: int = 0


@dataclass(frozen=True)
class Folder:
    """A folder of labelled clips, in one of the three layouts of `layouts`.

    A relative `path` that does not exist is looked up under the environment variable ADIFF_DATA.
    `folds` empty means all. `subset` "esc10" keeps the ten classes of ESC-10 of an ESC-50 folder.
    `holdout` sets a quarter of the original recordings of every class aside: "validation" is that
    quarter, "train" the rest.
    """

    path: str = "esc10"
    folds: tuple[int, ...] = ()
    backgrounds: tuple[str, ...] = ("rain", "sea_waves")
    holdout: Literal["all", "train", "validation"] = "all"
    subset: Literal["all", "esc10"] = "all"


@dataclass(frozen=True)
class Sound:
    """A recording ready for mixing: `wave` float32 [n] with peak 1, its hop powers, and the peak
    that the recording had."""

    wave: np.ndarray
    powers: np.ndarray
    edges: np.ndarray
    peak: float


class Library:
    """Recordings by label, and their audio at one rate. Picklable: copies decode audio anew."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        backgrounds: Sequence[str],
        load: Callable[[Recording], np.ndarray],
        rate: int,
    ) -> None:
        self.rate = rate
        self._load = load
        self._named = {recording.name: recording for recording in recordings}
        self._by_label: dict[str, tuple[Recording, ...]] = {}
        for recording in sorted(recordings, key=lambda r: r.name):
            earlier = self._by_label.get(recording.label, ())
            self._by_label[recording.label] = (*earlier, recording)
        self.labels = tuple(sorted(self._by_label))
        self.backgrounds = tuple(label for label in self.labels if label in backgrounds)
        self.events = tuple(label for label in self.labels if label not in backgrounds)
        self._sounds: dict[str, Sound] = {}
        self._loops: dict[str, Sound] = {}

    def recordings(self, label: str) -> tuple[Recording, ...]:
        """The recordings of `label`, in the order of their names."""
        return self._by_label[label]

    def recording(self, name: str) -> Recording:
        """The recording called `name`; ValueError if this library has none such."""
        try:
            return self._named[name]
        except KeyError:
            raise ValueError(
                f"the library has no recording {name!r}; the scene was drawn from another one"
            ) from None

    def wave(self, recording: Recording) -> np.ndarray:
        """float32 [n] at the library's rate and the recording's own level, silence trimmed off
        both ends."""
        sound = self.sound(recording)
        return sound.wave * np.float32(sound.peak)

    def sound(self, recording: Recording) -> Sound:
        """The recording as the renderer mixes it."""
        if recording.name not in self._sounds:
            self._sounds[recording.name] = self._prepare(self._trimmed(self._load(recording)))
        return self._sounds[recording.name]

    def loop(self, recording: Recording) -> Sound:
        """The recording with its end faded into its beginning, to be repeated without a click."""
        if recording.name not in self._loops:
            wave = self.sound(recording).wave
            fade = min(int(_LOOP_FADE_SECONDS * self.rate), len(wave) // 4)
            rise = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32))
            looped = wave[fade:].copy()
            looped[-fade:] = looped[-fade:] * rise[::-1] + wave[:fade] * rise
            self._loops[recording.name] = self._prepare(looped)
        return self._loops[recording.name]

    def _trimmed(self, wave: np.ndarray) -> np.ndarray:
        """`wave` between its first and last audible sample, one hop at least."""
        audible = np.flatnonzero(np.abs(wave) > _TRIM * np.abs(wave).max())
        hop = self.rate // HOPS_PER_SECOND + 1
        start = min(int(audible[0]), max(0, len(wave) - hop))
        return wave[start : max(int(audible[-1]) + 1, start + hop)]

    def _prepare(self, wave: np.ndarray) -> Sound:
        peak = float(np.abs(wave).max())
        edges = hop_edges(len(wave), self.rate)
        scaled = wave[: edges[-1]] / np.float32(peak)
        return Sound(scaled, hop_powers(scaled, self.rate), edges, peak)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_sounds": {}, "_loops": {}}


def open_library(config: Procedural | Folder, rate: int) -> Library:
    """The library that `config` describes, at `rate` Hz.

    Raises ValueError (or AudioError, when a clip is first heard) naming what is missing.
    """
    match config:
        case Procedural():
            names = (
                (label, f"{label}/{config.split}-{config.seed}-{i:04d}")
                for label in generators.LABELS
                for i in range(config.recordings_per_class)
            )
            made = [Recording(label, name, original=name, fold=0) for label, name in names]
            return Library(
                made, generators.BACKGROUNDS, _Generated(config.split, config.seed, rate), rate
            )
        case Folder():
            root = layouts.find(config.path)
            files = layouts.discover(root, config.subset == "esc10")
            kept = _fold_and_holdout(list(files), config, str(root))
            return Library(
                kept, config.backgrounds, _Files({r.name: files[r] for r in kept}, rate), rate
            )
        case _:
            raise TypeError(f"{type(config).__name__} is no library; use Procedural or Folder")


@dataclass(frozen=True)
class _Files:
    paths: dict[str, str]
    rate: int

    def __call__(self, recording: Recording) -> np.ndarray:
        return read_audio(self.paths[recording.name], self.rate)


@dataclass(frozen=True)
class _Generated:
    split: Literal["train", "heldout"]
    seed: int
    rate: int

    def __call__(self, recording: Recording) -> np.ndarray:
        index = int(recording.name.rsplit("-", 1)[1])
        wave = generators.generate(recording.label, self.split, self.seed, index, self.rate)
        check_wave(wave, recording.name)
        return wave


def _fold_and_holdout(recordings: list[Recording], config: Folder, root: str) -> list[Recording]:
    folds = {recording.fold for recording in recordings}
    for fold in config.folds:
        if fold not in folds:
            raise ValueError(
                f"{root} has no fold {fold}; it has {', '.join(map(str, sorted(folds)))}"
            )
    kept = [r for r in recordings if not config.folds or r.fold in config.folds]
    labels = {recording.label for recording in kept}
    for background in config.backgrounds:
        if background not in labels:
            raise ValueError(
                f"{root} has no clips of the background {background!r}; choose backgrounds among "
                f"{', '.join(sorted(labels))}"
            )
    if config.holdout == "all":
        return kept
    aside = validation_originals(kept)
    return [r for r in kept if (r.original in aside) == (config.holdout == "validation")]


def validation_originals(recordings: Sequence[Recording]) -> frozenset[str]:
    """A quarter (rounded) of the original recordings of every class, chosen by a hash of their
    names: the choice depends on nothing but the recordings that are there."""
    side: dict[str, bool] = {}
    by_label: dict[str, set[str]] = {}
    for recording in recordings:
        by_label.setdefault(recording.label, set()).add(recording.original)
    for label in sorted(by_label):
        originals = sorted(by_label[label], key=_rank)
        wanted = round(len(originals) / 4) - sum(side.get(name, False) for name in originals)
        for name in originals:
            if name not in side:  # one original may be heard in two classes
                side[name] = wanted > 0
                wanted -= 1
    return frozenset(name for name, is_aside in side.items() if is_aside)


def _rank(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
