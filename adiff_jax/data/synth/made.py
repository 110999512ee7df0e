"""The three kinds of made examples: edited pairs, raw pairs, and labelled mixes.

All obey `adiff_jax.data.schema.Source`: random access, equal on every machine, picklable (audio
is decoded anew in each copy). `truth` draws the scenes only; explanations of tier 2 and 3 are
the exception, since they state what is measured on the audio.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from adiff_jax.data.prompts import CANONICAL
from adiff_jax.data.schema import Edit, Example, Truth
from adiff_jax.data.synth import tiers
from adiff_jax.data.synth.captions import captions, corpus
from adiff_jax.data.synth.draw import draw_scene
from adiff_jax.data.synth.edits import PairScenes, draw_pair
from adiff_jax.data.synth.library import Library, Recording
from adiff_jax.data.synth.phrases import nouns
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.render import render, render_pair, within_range
from adiff_jax.data.synth.scenes import Scene
from adiff_jax.data.synth.templates import Templates
from adiff_jax.data.synth.tiers import drawn, explain, in_order, measure


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
        self._tier = tier
        if tier not in (0, 1, 2, 3):
            raise ValueError(f"SynthPairs.tier is {tier}; it must be 0 (imperatives), 1, 2 or 3")
        nouns(library.labels)  # two classes of one name could not be told apart in a sentence

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Example:
        scenes = self.scenes(index)
        waves = render_pair(scenes.first, scenes.second, self.library)
        truth = self._truth(index, scenes, waves)
        return Example(
            id=truth.id,
            waves=waves,
            rate=self.library.rate,
            captions=truth.references,
            edits=truth.edits,
            scene=_content(_heard(scenes.first), _heard(scenes.second)),
            recordings=truth.recordings,
            prompt=truth.prompt,
            tier=truth.tier,
            heard=truth.heard,
            backgrounds=truth.backgrounds,
        )

    def scenes(self, index: int) -> PairScenes:
        """The two scenes of pair `index` and the program between them."""
        planned = None
        if self.recipe.balance:
            operations = self.recipe.weights.drawn()
            planned = operations[_checked(index, self._size) % len(operations)]
        rng = generator(self._seed, self._stream, _checked(index, self._size))
        return draw_pair(rng, self.recipe, self.library, planned)

    def truth(self, index: int) -> Truth:
        """References and program of pair `index`; renders audio at tier 2 and 3 only."""
        scenes = self.scenes(index)
        measured = self._tier in (2, 3)
        waves = render_pair(scenes.first, scenes.second, self.library) if measured else ()
        return self._truth(index, scenes, waves)

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

    def _truth(self, index: int, scenes: PairScenes, waves: tuple[np.ndarray, ...]) -> Truth:
        names = {*scenes.first.recordings(), *scenes.second.recordings()}
        return Truth(
            id=example_id(self.name, index),
            references=self._references(index, scenes, waves),
            edits=scenes.edits,
            recordings=_originals(self.library.recording(name) for name in names),
            prompt=CANONICAL[f"tier-{self._tier}"] if self._tier else "",
            tier=self._tier,
            heard=(_events(scenes.first), _events(scenes.second)),
            backgrounds=(scenes.first.background[0].label, scenes.second.background[0].label),
        )

    def _references(
        self, index: int, scenes: PairScenes, waves: tuple[np.ndarray, ...]
    ) -> tuple[str, ...]:
        words = generator(self._seed, f"{self._stream}/captions", index)
        if self._tier == 0:
            return captions(scenes.edits, words, self._templates)
        heard = waves if self._tier in (2, 3) else ()
        signals = tuple(measure(wave, self.library.rate) for wave in heard)
        return (explain(self._tier, scenes, signals, drawn(words), self._templates),)


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
            scene=_content([first.label], [second.label]),
            recordings=truth.recordings,
        )

    def pair(self, index: int) -> tuple[Recording, Recording]:
        """The two recordings of pair `index`; never one and the same."""
        rng = generator(self._seed, self.name, _checked(index, self._size))
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
            recordings=_originals((first, second)),
        )

    def texts(self) -> Iterator[str]:
        """Every clause of none and replace with every class once."""
        return corpus(("none", "replace"), self.library.labels, self.library.backgrounds)

    def descriptions(self) -> Iterator[str]:
        """What `description_hash` is taken of: the names of both recordings of every pair."""
        for index in range(self._size):
            first, second = self.pair(index)
            yield f"{first.name} {second.name}"


class Mixes:
    """Single clips with the classes heard in them. `classes` is the order of tagging targets."""

    def __init__(self, library: Library, recipe: Recipe, name: str, size: int, seed: int) -> None:
        self.library = library
        self.recipe = recipe
        self.name = name
        self.classes = library.labels
        self._size, self._seed = size, seed

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Example:
        scene = self.scene(index)
        return Example(
            id=example_id(self.name, index),
            waves=within_range(render(scene, self.library)),
            rate=self.library.rate,
            labels=scene.labels(),
            scene=_content(_heard(scene)),
            recordings=self.truth(index).recordings,
        )

    def scene(self, index: int) -> Scene:
        """The scene of clip `index`."""
        rng = generator(self._seed, self.name, _checked(index, self._size))
        return draw_scene(rng, self.recipe, self.library)

    def truth(self, index: int) -> Truth:
        """The recordings heard; there are no references."""
        names = self.scene(index).recordings()
        recordings = _originals(self.library.recording(name) for name in names)
        return Truth(example_id(self.name, index), (), None, recordings)

    def texts(self) -> Iterator[str]:
        """None: a tagger has no sentences."""
        return iter(())


def _checked(index: int, size: int) -> int:
    if not 0 <= index < size:
        raise IndexError(f"example {index} of a source of {size}")
    return index


def _originals(recordings: Iterable[Recording]) -> tuple[str, ...]:
    return tuple(sorted({recording.original for recording in recordings}))


def _events(scene: Scene) -> tuple[str, ...]:
    return tuple(event.label for event in in_order(scene))


def _heard(scene: Scene) -> list[str]:
    background = sorted({layer.label for layer in scene.background})
    return [*background, "|", *sorted(event.label for event in scene.events)]


def _content(*clips: list[str]) -> str:
    """A hash of the classes heard in each clip: equal for pairs that sound alike in content."""
    return hashlib.sha256(json.dumps(clips).encode()).hexdigest()[:16]
