"""Single scenes with captions of what is heard in them. A `Source`, as in `made`."""

from collections.abc import Iterator
from dataclasses import replace

from adiff_jax.data.schema import Clip, Example, Truth
from adiff_jax.data.synth import clip_captions
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
from adiff_jax.data.synth.phrases import nouns
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.render import render, within_range
from adiff_jax.data.synth.scenes import Scene
from adiff_jax.data.synth.templates import Templates
from adiff_jax.data.synth.tiers import in_order


class CaptionedScenes:
    """Single clips, each with every caption that the grammar has for its scene."""

    def __init__(
        self,
        library: Library,
        recipe: Recipe,
        name: str,
        size: int,
        seed: int,
        templates: Templates,
    ) -> None:
        self.library = library
        self.recipe = recipe
        self.name = name
        self._size, self._seed = size, seed
        self._templates: Templates = templates
        nouns(library.labels)  # two classes of one name could not be told apart in a sentence

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Example:
        waves = within_range(render(self.scene(index), self.library))
        return replace(self.described(index), waves=waves, rate=self.library.rate)

    def described(self, index: int) -> Example:
        """Clip `index` without its audio."""
        scene, truth = self.scene(index), self.truth(index)
        return Example(
            id=truth.id,
            waves=(),
            rate=0,
            captions=truth.references,
            labels=scene.labels(),
            scene=content_hash(labels_heard(scene)),
            recordings=truth.recordings,
            clips=(Clip(truth.id, truth.references, truth.recordings),),
            heard=truth.heard,
            backgrounds=truth.backgrounds,
        )

    def scene(self, index: int) -> Scene:
        """The scene of clip `index`."""
        rng = generator(self._seed, self.name, checked_index(index, self._size))
        return draw_scene(rng, self.recipe, self.library)

    def truth(self, index: int) -> Truth:
        """Captions and sounds of clip `index`; no audio is made."""
        scene = self.scene(index)
        names = scene.recordings()
        return Truth(
            id=example_id(self.name, index),
            references=clip_captions.describe(scene, self._templates),
            edits=None,
            recordings=originals(self.library.recording(name) for name in names),
            heard=(tuple(event.label for event in in_order(scene)),),
            backgrounds=(scene.background[0].label,),
        )

    def texts(self) -> Iterator[str]:
        """Training captions that hold every word there can be, and as long as any."""
        most = len(self.recipe.event_counts) - 1
        yield from clip_captions.corpus(self.library.events, self.library.backgrounds, most)
