"""What an encoder is given of a clip: its centre, and windows at places drawn by its name."""

import hashlib
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

from adiff_jax.data.embedding_files import ClipPlace
from adiff_jax.data.pipeline import ExampleError
from adiff_jax.data.schema import Described, Example, Source, Truth
from adiff_jax.data.transforms import Encode
from adiff_jax.data.windows import middle


class ReadClip(TypedDict):
    """The windows of a clip [k n], the valid samples of each, and the SHA-256 of the clip."""

    windows: np.ndarray
    length: np.int32
    sha256: str


@dataclass(frozen=True)
class ReadClips:
    """Reads clips by their place in `clips`: the centre, and `crops - 1` windows elsewhere.

    A clip no longer than the window is heard whole, and has one.
    """

    source: Source
    encode: Encode
    clips: tuple[ClipPlace, ...]
    crops: int
    seed: int

    def __call__(self, index: int) -> ReadClip:
        clip = self.clips[index]
        wave, rate = read_wave(self.source, clip)
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
    """Reads clips by their place in `clips`: their SHA-256 only."""

    source: Source
    clips: tuple[ClipPlace, ...]

    def __call__(self, index: int) -> str:
        return wave_digest(*read_wave(self.source, self.clips[index]))


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


def read_wave(source: Source, clip: ClipPlace) -> tuple[np.ndarray, int]:
    """The samples of a clip, and their rate. Raises ExampleError that names it."""
    try:
        example = source[clip.example]
        return example.waves[clip.place], example.rate
    except Exception as error:
        raise ExampleError(f"clip {clip.name}: {str(error) or type(error).__name__}") from error


def wave_digest(wave: np.ndarray, rate: int) -> str:
    """SHA-256, in hex, of float32 samples [n] and their rate."""
    digest = hashlib.sha256(f"{rate} Hz ".encode())
    digest.update(wave.astype("<f4").tobytes())
    return digest.hexdigest()


def crop_start(seed: int, clip: str, crop: int, last: int) -> int:
    """The first sample of a crop, in 0 ... `last`: a function of the arguments and nothing else."""
    name = int.from_bytes(hashlib.sha256(clip.encode()).digest())
    return int(np.random.PCG64((seed, name, crop)).random_raw()) % (last + 1)
