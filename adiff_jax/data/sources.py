"""Sources of examples that are made when asked for, and `open_source`, which opens any of them.

A pair is a function of (seed, split, index): nothing but the configuration needs storing, and
every process makes the same example. References and edits come from the scenes, without audio.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from adiff_jax.data.schema import Example, Source, Truth
from adiff_jax.data.synth.captions import captions, corpus
from adiff_jax.data.synth.edits import PairScenes, Recipe, draw_pair, draw_scene
from adiff_jax.data.synth.library import Folder, Library, Procedural, open_library
from adiff_jax.data.synth.render import render, render_pair, within_range
from adiff_jax.data.synth.scenes import Scene

Recordings = Procedural | Folder


@dataclass(frozen=True)
class SynthPairs:
    """Pairs synthesised from labelled recordings. `tier` 0 captions in short imperatives, 1 to 3
    in explanations of that tier."""

    recordings: Recordings = field(default_factory=Procedural)
    recipe: Recipe = field(default_factory=Recipe)
    split: str = "train"
    size: int = 10_000
    seed: int = 0
    rate: int = 16_000
    templates: Literal["train", "test"] = "train"
    tier: int = 0


@dataclass(frozen=True)
class LabelledMixes:
    """Single clips labelled with every class heard, backgrounds included, to train a tagger."""

    recordings: Recordings = field(default_factory=Procedural)
    recipe: Recipe = field(default_factory=lambda: Recipe(event_counts=(0.1, 0.35, 0.35, 0.2)))
    split: str = "train"
    size: int = 30_000
    seed: int = 0
    rate: int = 16_000


SourceConfig = SynthPairs | LabelledMixes


def open_source(config: SourceConfig) -> Source:
    """The source that `config` describes; ValueError names the field or folder that is wrong."""
    match config:
        case SynthPairs():
            return PairSource(config)
        case LabelledMixes():
            return MixSource(config)
        case _:
            raise TypeError(f"{type(config).__name__} is no source of examples")


def generator(seed: int, split: str, index: int) -> np.random.Generator:
    """The random generator of example `index`: the same on every machine."""
    return np.random.default_rng([seed, zlib.crc32(split.encode()), index])


class PairSource:
    """The pairs of a `SynthPairs`."""

    def __init__(self, config: SynthPairs) -> None:
        self.config = config
        self.library = open_library(config.recordings, config.rate)

    def __len__(self) -> int:
        return self.config.size

    def __getitem__(self, index: int) -> Example:
        scenes = self.scenes(index)
        truth = self._truth(index, scenes)
        return Example(
            id=truth.id,
            waves=render_pair(scenes.first, scenes.second, self.library),
            rate=self.config.rate,
            captions=truth.references,
            edits=truth.edits,
            scene=scene_content(scenes),
            recordings=truth.recordings,
            tier=self.config.tier,
        )

    def scenes(self, index: int) -> PairScenes:
        """The two scenes of pair `index` and the program between them."""
        config = self.config
        planned = None
        if config.recipe.balance:
            operations = config.recipe.weights.drawn()
            planned = operations[index % len(operations)]
        return draw_pair(
            generator(config.seed, config.split, index), config.recipe, self.library, planned
        )

    def truth(self, index: int) -> Truth:
        return self._truth(index, self.scenes(index))

    def _truth(self, index: int, scenes: PairScenes) -> Truth:
        words = generator(self.config.seed, f"{self.config.split}/captions", index)
        return Truth(
            id=f"{self.config.split}/{index:06d}",
            references=captions(scenes.edits, words, self.config.templates),
            edits=scenes.edits,
            recordings=originals(self.library, scenes),
            tier=self.config.tier,
        )

    def texts(self) -> Iterator[str]:
        return corpus(
            self.config.recipe.weights.drawn(), self.library.events, self.library.backgrounds
        )


class MixSource:
    """The clips of a `LabelledMixes`. `classes` is the order of the tagger's outputs."""

    def __init__(self, config: LabelledMixes) -> None:
        self.config = config
        self.library = open_library(config.recordings, config.rate)
        self.classes = self.library.labels

    def __len__(self) -> int:
        return self.config.size

    def __getitem__(self, index: int) -> Example:
        scene = self._scene(index)
        return Example(
            id=self._id(index),
            waves=within_range(render(scene, self.library)),
            rate=self.config.rate,
            labels=scene.labels(),
            recordings=self._originals(scene.recordings()),
        )

    def truth(self, index: int) -> Truth:
        return Truth(self._id(index), (), None, self._originals(self._scene(index).recordings()))

    def texts(self) -> Iterator[str]:
        return iter(())

    def _scene(self, index: int) -> Scene:
        config = self.config
        return draw_scene(generator(config.seed, config.split, index), config.recipe, self.library)

    def _id(self, index: int) -> str:
        return f"{self.config.split}/{index:06d}"

    def _originals(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({self.library.recording(name).original for name in names}))


def originals(library: Library, scenes: PairScenes) -> tuple[str, ...]:
    """The original recordings heard in either clip, sorted."""
    names = {*scenes.first.recordings(), *scenes.second.recordings()}
    return tuple(sorted({library.recording(name).original for name in names}))


def scene_content(scenes: PairScenes) -> str:
    """A hash of the classes heard in each clip: equal for pairs that sound alike in content."""
    heard = [
        [
            sorted({layer.label for layer in scene.background}),
            sorted(event.label for event in scene.events),
        ]
        for scene in (scenes.first, scenes.second)
    ]
    return hashlib.sha256(json.dumps(heard).encode()).hexdigest()[:16]
