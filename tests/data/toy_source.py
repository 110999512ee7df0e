"""Sources of made-up examples, small enough to count and compare every read."""

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from adiff_jax.data.schema import Edit, Example, Truth
from adiff_jax.data.tokenizers import Tokenizer, Words, build_tokenizer
from adiff_jax.data.transforms import Encode, EncodeConfig

RATE = 16_000
CAPTIONS = ("add a dog", "put a dog in", "let a dog bark")


class ToySource:
    """Example i holds constant waves that tell i; `read` is called before each access."""

    def __init__(self, size: int, captions: tuple[str, ...] = CAPTIONS) -> None:
        self.size = size
        self.captions = captions

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.size:
            raise IndexError(index)
        self.read(index)
        level = np.float32((index + 1) / (4 * self.size))
        return Example(
            id=f"toy-{index}",
            waves=(np.full(160, level, np.float32), np.full(120, -level, np.float32)),
            rate=RATE,
            captions=self.captions,
            edits=(Edit("add", "dog"),),
        )

    def read(self, index: int) -> None:
        pass

    def truth(self, index: int) -> Truth:
        return Truth(f"toy-{index}", self.captions, (Edit("add", "dog"),), ())

    def texts(self) -> Iterator[str]:
        yield from self.captions


class LoggingSource(ToySource):
    """Appends a byte to a file for every read, so that reads in other processes count too."""

    def __init__(self, size: int, log: Path) -> None:
        super().__init__(size)
        self.log = log
        log.touch()

    def read(self, index: int) -> None:
        with self.log.open("ab") as file:
            file.write(b".")

    @property
    def reads(self) -> int:
        return os.path.getsize(self.log)


class AwkwardError(Exception):
    """Cannot be pickled: unpickling would call it with one argument."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} is {reason}")


class BrokenSource(ToySource):
    """Example 5 cannot be read."""

    def read(self, index: int) -> None:
        if index == 5:
            raise AwkwardError("clip-5.wav", "truncated")


class DeadlySource(ToySource):
    """Whoever reads it is killed, as by a lack of memory."""

    def read(self, index: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class BackendProbe(ToySource):
    """Refuses to be read where a jax backend runs."""

    def read(self, index: int) -> None:
        from jax._src import xla_bridge

        if xla_bridge.backends_are_initialized():
            raise RuntimeError("a jax backend runs in this process")


def toy_tokenizer() -> Tokenizer:
    return build_tokenizer(Words(), CAPTIONS)


def toy_encode(**changes: object) -> Encode:
    config = dataclasses.replace(EncodeConfig(seconds=0.01, rate=RATE, max_tokens=6), **changes)
    return Encode(config, toy_tokenizer())
