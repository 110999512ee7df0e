"""Labelled mixes: single clips made of scenes, to train a tagger on. A `Source`, as in `made`."""

from collections.abc import Iterator

from adiff_jax.data.schema import Example, Truth
from adiff_jax.data.synth.draw import draw_scene
from adiff_jax.data.synth.library import Library
from adiff_jax.data.synth.made import (
    checked_index,
    content_hash,
    example_id,
    generator,
    labels_heard,
    originals,
)
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.render import render, within_range
from adiff_jax.data.synth.scenes import Scene


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
            scene=content_hash(labels_heard(scene)),
            recordings=self.truth(index).recordings,
        )

    def scene(self, index: int) -> Scene:
        """The scene of clip `index`."""
        rng = generator(self._seed, self.name, checked_index(index, self._size))
        return draw_scene(rng, self.recipe, self.library)

    def truth(self, index: int) -> Truth:
        """The recordings heard; there are no references."""
        names = self.scene(index).recordings()
        recordings = originals(self.library.recording(name) for name in names)
        return Truth(example_id(self.name, index), (), None, recordings)

    def texts(self) -> Iterator[str]:
        """None: a tagger has no sentences."""
        return iter(())


def _known_tier(tier: int) -> int:
    if tier not in (0, 1, 2, 3):
        raise ValueError(f"SynthPairs.tier is {tier}; it must be 0 (imperatives), 1, 2 or 3")
    return tier
