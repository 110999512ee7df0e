"""Pairs made on demand: edited pairs of scenes, and raw pairs of recordings.

All obey `adiff_jax.data.schema.Source`: random access, equal on every machine, picklable (audio
is decoded anew in each copy). `truth` draws the scenes only; explanations of tier 2 and 3 are
the exception, since they state what is measured on the audio.
"""

import copy
import functools
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from adiff_jax.data.prompts import CANONICAL
from adiff_jax.data.schema import Clip, Edit, Example, Truth
from adiff_jax.data.synth import clip_captions, tiers
from adiff_jax.data.synth.captions import captions, corpus
from adiff_jax.data.synth.edits import PairScenes, draw_pair
from adiff_jax.data.synth.library import Library, Recording
from adiff_jax.data.synth.phrases import nouns
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.render import render_pair, within_range
from adiff_jax.data.synth.scenes import Scene
from adiff_jax.data.synth.templates import Templates
from adiff_jax.data.synth.tiers import Signal, drawn, explain, in_order, measure


def generator(seed: int, stream: str, index: int) -> np.random.Generator:
    """The random generator of example `index`: the same on every machine."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), index])


def example_id(name: str, index: int) -> str:
    """ "single/000012": the set's name and the index in it."""
    return f"{name}/{index:06d}"


class EditedPairs:
    """Pairs of scenes with the program between them. `stream` names the random stream, `name`
    begins the ids: sets that differ in name only hold the same pairs."""

    def __init__(
        self,
        library: Library,
        recipe: Recipe,
        name: str,
        stream: str,
        size: int,
        seed: int,
        templates: Templates,
        tier: int,
    ) -> None:
        self.library = library
        self.recipe = recipe
        self.name = name
        self._stream, self._size, self._seed = stream, size, seed
        self._templates: Templates = templates
        self._tier = _known_tier(tier)
        nouns(library.labels)  # two classes of one name could not be told apart in a sentence

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Example:
        scenes = self.scenes(index)
        waves = render_pair(scenes.first, scenes.second, self.library)
        signals = tuple(measure(wave, self.library.rate) for wave in waves if self._tier in (2, 3))
        example = self._example(self._truth(index, scenes, signals), scenes)
        return replace(example, waves=waves, rate=self.library.rate)

    def described(self, index: int) -> Example:
        """Pair `index` without its audio, which is made for references of tier 2 and 3 only."""
        return self._example(self.truth(index), self.scenes(index))

    def with_tier(self, tier: int) -> "EditedPairs":
        """The same pairs, explained in another tier (0: in imperatives)."""
        same = copy.copy(self)
        same._tier = _known_tier(tier)
        return same

    def clip_captions(self, index: int) -> tuple[tuple[str, ...], ...]:
        """What is heard in each clip of pair `index`, in several wordings; no audio is made."""
        return self._describe(self.scenes(index))

    def longest_texts(self, index: int) -> tuple[str, ...]:
        """Texts of which one is as long as any reference of pair `index`; no audio is made."""
        scenes = self.scenes(index)  # the wording does not depend on the signals
        said = (self._references(index, scenes, signals) for signals in tiers.EXTREMES)
        return tuple(dict.fromkeys(text for texts in said for text in texts))

    def recordings(self, index: int) -> tuple[str, ...]:
        """The originals heard in pair `index`; no audio is made."""
        scenes = self.scenes(index)
        return self._heard(scenes.first, scenes.second)

    def scenes(self, index: int) -> PairScenes:
        """The two scenes of pair `index` and the program between them."""
        planned = None
        if self.recipe.balance:
            operations = self.recipe.weights.drawn()
            planned = operations[checked_index(index, self._size) % len(operations)]
        rng = generator(self._seed, self._stream, checked_index(index, self._size))
        return draw_pair(rng, self.recipe, self.library, planned)

    def truth(self, index: int) -> Truth:
        """References and program of pair `index`; renders audio at tier 2 and 3 only."""
        scenes = self.scenes(index)
        signals = _signals(scenes, self.library) if self._tier in (2, 3) else ()
        return self._truth(index, scenes, signals)

    def texts(self) -> Iterator[str]:
        """Sentences with every word that training captions can have: at tier 0 every training
        clause with every class once (test references have other words on purpose), at other tiers
        the explanations of 500 pairs, for their lengths, and what words others can have in this
        source's templates."""
        said = (self.recipe.weights.drawn(), self.library.events, self.library.backgrounds)
        if not self._tier:
            yield from corpus(*said, two_edits=self.recipe.two_edits > 0)
            return
        for index in range(min(500, self._size)):
            yield from self.truth(index).references
        yield from tiers.corpus(
            self._tier, *said, self.recipe.duration, self.library.rate, self._templates
        )

    def descriptions(self) -> Iterator[str]:
        """What `description_hash` is taken of: both scenes and the program of every pair."""
        for index in range(self._size):
            scenes = self.scenes(index)
            program = [[e.operation, e.event, e.replacement] for e in scenes.edits]
            yield f"{scenes.first.to_json()} {scenes.second.to_json()} {json.dumps(program)}"

    def _example(self, truth: Truth, scenes: PairScenes) -> Example:
        heard = zip((1, 2), (scenes.first, scenes.second), self._describe(scenes), strict=True)
        return Example(
            id=truth.id,
            waves=(),
            rate=0,
            captions=truth.references,
            edits=truth.edits,
            scene=content_hash(labels_heard(scenes.first), labels_heard(scenes.second)),
            recordings=truth.recordings,
            prompt=truth.prompt,
            tier=truth.tier,
            clips=tuple(
                Clip(f"{truth.id}-{number}", captions, self._heard(scene))
                for number, scene, captions in heard
            ),
            heard=truth.heard,
            backgrounds=truth.backgrounds,
        )

    def _truth(self, index: int, scenes: PairScenes, signals: tuple[Signal, ...]) -> Truth:
        return Truth(
            id=example_id(self.name, index),
            references=self._references(index, scenes, signals),
            edits=scenes.edits,
            recordings=self._heard(scenes.first, scenes.second),
            prompt=CANONICAL[f"tier-{self._tier}"] if self._tier else "",
            tier=self._tier,
            heard=(_events(scenes.first), _events(scenes.second)),
            backgrounds=(scenes.first.background[0].label, scenes.second.background[0].label),
        )

    def _references(
        self, index: int, scenes: PairScenes, signals: tuple[Signal, ...]
    ) -> tuple[str, ...]:
        words = generator(self._seed, f"{self._stream}/captions", index)
        if self._tier == 0:
            return captions(scenes.edits, words, self._templates)
        return (explain(self._tier, scenes, signals, drawn(words), self._templates),)

    def _describe(self, scenes: PairScenes) -> tuple[tuple[str, ...], ...]:
        return tuple(
            clip_captions.describe(scene, self._templates)
            for scene in (scenes.first, scenes.second)
        )

    def _heard(self, *scenes: Scene) -> tuple[str, ...]:
        names = {name for scene in scenes for name in scene.recordings()}
        return originals(self.library.recording(name) for name in names)


class RawPairs:
    """Two recordings as they are: of one class at even indices, of two at odd ones."""

    def __init__(
        self, library: Library, name: str, size: int, seed: int, templates: Templates
    ) -> None:
        self.library = library
        self.name = name
        self._size, self._seed = size, seed
        self._templates: Templates = templates
        if len(library.labels) < 2 or any(len(library.recordings(x)) < 2 for x in library.labels):
            raise ValueError("raw pairs need two classes or more, each with two recordings or more")

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Example:
        first, second = self.pair(index)
        truth = self.truth(index)
        return Example(
            id=truth.id,
            waves=within_range(self.library.wave(first), self.library.wave(second)),
            rate=self.library.rate,
            captions=truth.references,
            edits=truth.edits,
            scene=content_hash([first.label], [second.label]),
            recordings=truth.recordings,
        )

    def pair(self, index: int) -> tuple[Recording, Recording]:
        """The two recordings of pair `index`; never one and the same."""
        rng = generator(self._seed, self.name, checked_index(index, self._size))
        labels = self.library.labels
        if index % 2 == 0:
            recordings = self.library.recordings(labels[rng.integers(len(labels))])
            one, other = rng.choice(len(recordings), 2, replace=False)
            return recordings[one], recordings[other]
        pick = [self.library.recordings(labels[i]) for i in rng.choice(len(labels), 2, False)]
        return pick[0][rng.integers(len(pick[0]))], pick[1][rng.integers(len(pick[1]))]

    def truth(self, index: int) -> Truth:
        """What the labels of the two recordings say."""
        first, second = self.pair(index)
        same = first.label == second.label
        edit = Edit("none") if same else Edit("replace", first.label, second.label)
        words = generator(self._seed, f"{self.name}/captions", index)
        return Truth(
            id=example_id(self.name, index),
            references=captions((edit,), words, self._templates),
            edits=(edit,),
            recordings=originals((first, second)),
        )

    def texts(self) -> Iterator[str]:
        """Every clause of none and replace with every class once."""
        return corpus(("none", "replace"), self.library.labels, self.library.backgrounds)

    def descriptions(self) -> Iterator[str]:
        """What `description_hash` is taken of: the names of both recordings of every pair."""
        for index in range(self._size):
            first, second = self.pair(index)
            yield f"{first.name} {second.name}"


@functools.lru_cache(maxsize=8)  # a pair's explanations and descriptions are read one by one
def _signals(scenes: PairScenes, library: Library) -> tuple[Signal, ...]:
    waves = render_pair(scenes.first, scenes.second, library)
    return tuple(measure(wave, library.rate) for wave in waves)


def _known_tier(tier: int) -> int:
    if tier not in (0, 1, 2, 3):
        raise ValueError(f"SynthPairs.tier is {tier}; it must be 0 (imperatives), 1, 2 or 3")
    return tier


def checked_index(index: int, size: int) -> int:
    """`index`; IndexError where a source of `size` has no such example."""
    if not 0 <= index < size:
        raise IndexError(f"example {index} of a source of {size}")
    return index


def originals(recordings: Iterable[Recording]) -> tuple[str, ...]:
    """The original recordings that these are parts of."""
    return tuple(sorted({recording.original for recording in recordings}))


def _events(scene: Scene) -> tuple[str, ...]:
    return tuple(event.label for event in in_order(scene))


def labels_heard(scene: Scene) -> list[str]:
    """What a scene holds: the labels of its background, then of its events."""
    background = sorted({layer.label for layer in scene.background})
    return [*background, "|", *sorted(event.label for event in scene.events)]


def content_hash(*clips: list[str]) -> str:
    """A hash of the classes heard in each clip: equal for pairs that sound alike in content."""
    return hashlib.sha256(json.dumps(clips).encode()).hexdigest()[:16]
