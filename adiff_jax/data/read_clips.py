"""What an encoder is given of a clip: its centre, and windows at places drawn by its name."""

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

from adiff_jax.data.embedding_files import ClipPlace
from adiff_jax.data.pipeline import ExampleError
from adiff_jax.data.schema import Described, Example, Source, Truth
from adiff_jax.data.transforms import Encode
from adiff_jax.data.windows import middle

Groups = tuple[tuple[ClipPlace, ...], ...]
"""Clips that are read together: each group is of one example."""


def groups(clips: Iterable[ClipPlace]) -> Groups:
    """Clips in their order, those of one example that follow one another together, so that a made
    pair is made once."""
    return tuple(tuple(some) for _, some in itertools.groupby(clips, lambda clip: clip.example))


class ReadClip(TypedDict):
    """The windows of a clip [k n], the valid samples of each, and the SHA-256 of the clip."""

    windows: np.ndarray
    length: np.int32
    sha256: str


@dataclass(frozen=True)
class ReadClips:
    """Reads the clips of a group: the centre of each, and `crops - 1` windows elsewhere.

    A clip no longer than the window is heard whole, and has one.
    """

    source: Source
    encode: Encode
    groups: Groups
    crops: int
    seed: int

    def __call__(self, index: int) -> list[ReadClip]:
        clips = self.groups[index]
        waves, rate = read_waves(self.source, clips)
        return [self._read(clip, wave, rate) for clip, wave in zip(clips, waves, strict=True)]

    def _read(self, clip: ClipPlace, wave: np.ndarray, rate: int) -> ReadClip:
        try:
            heard = self.encode.resampled(wave, rate)
        except ValueError as error:
            raise ExampleError(f"clip {clip.name}: {error}") from error
        size = self.encode.config.samples
        windows, length = self.encode.filled(middle(heard, size))
        found = [windows]
        for crop in range(1, self.crops if len(heard) > size else 1):
            start = crop_start(self.seed, clip.name, crop, len(heard) - size)
            found.append(self.encode.filled(heard[start : start + size])[0])
        return {"windows": np.stack(found), "length": length, "sha256": wave_digest(wave, rate)}


@dataclass(frozen=True)
class HashClips:
    """Reads the clips of a group: their SHA-256 only."""

    source: Source
    groups: Groups

    def __call__(self, index: int) -> list[str]:
        waves, rate = read_waves(self.source, self.groups[index])
        return [wave_digest(wave, rate) for wave in waves]


@dataclass(frozen=True)
class Seen:
    """An example without audio, its truth, and the SHA-256 of its clips where they were read."""

    example: Example
    truth: Truth
    digests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Describe:
    """Reads examples, and their audio only from sources that cannot tell of them without."""

    source: Source

    def __call__(self, index: int) -> Seen:
        source = self.source
        try:
            truth = source.truth(index)
            if isinstance(source, Described):
                return Seen(source.described(index), truth)
            example = source[index]
        except Exception as error:
            raise ExampleError(f"example {index}: {str(error) or type(error).__name__}") from error
        digests = tuple(wave_digest(wave, example.rate) for wave in example.waves)
        return Seen(replace(example, waves=(), clips=example.described_clips), truth, digests)


def read_waves(source: Source, clips: tuple[ClipPlace, ...]) -> tuple[tuple[np.ndarray, ...], int]:
    """The samples of clips of one example, and their rate. Raises ExampleError that names them."""
    try:
        example = source[clips[0].example]
        return tuple(example.waves[clip.place] for clip in clips), example.rate
    except Exception as error:
        names = " and ".join(clip.name for clip in clips)
        raise ExampleError(f"clip {names}: {str(error) or type(error).__name__}") from error


def wave_digest(wave: np.ndarray, rate: int) -> str:
    """SHA-256, in hex, of float32 samples [n] and their rate."""
    digest = hashlib.sha256(f"{rate} Hz ".encode())
    digest.update(wave.astype("<f4").tobytes())
    return digest.hexdigest()


def crop_start(seed: int, clip: str, crop: int, last: int) -> int:
    """The first sample of a crop, in 0 ... `last`: a function of the arguments and nothing else."""
    name = int.from_bytes(hashlib.sha256(clip.encode()).digest())
    return int(np.random.PCG64((seed, name, crop)).random_raw()) % (last + 1)
