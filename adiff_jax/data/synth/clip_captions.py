"""Captions of one clip, written from its scene: what is heard in it, and in which order.

They stand in for the source captions of published pairs, the targets of position captioning.
"""

from collections.abc import Iterator, Sequence

from adiff_jax.data.synth.phrases import mention, noun
from adiff_jax.data.synth.scenes import Event, Layer, Scene
from adiff_jax.data.synth.templates import Templates

# {b}: the background; {all}: the events, joined by "and"; {turn}: the events, one after another
_HEARD: dict[Templates, tuple[str, ...]] = {
    "train": (
        "{turn} over {b}",
        "{all} can be heard while {b} goes on in the background",
        "in front of {b} one hears {turn}",
        "{b} throughout, with {all}",
        "a recording of {b} in which there is {turn}",
    ),
    "test": (
        "{turn} against a backdrop of {b}",
        "amid {b} there is {turn}",
        "continuous {b} together with {all}",
    ),
}
_EMPTY: dict[Templates, tuple[str, ...]] = {
    "train": (
        "only {b} can be heard",
        "{b} and nothing else",
        "a recording of {b} alone",
        "nothing but {b} throughout",
        "{b} goes on in the background, with nothing in front of it",
    ),
    "test": (
        "just {b} from beginning to end",
        "there is no sound but {b}",
        "continuous {b} by itself",
    ),
}


def describe(scene: Scene, templates: Templates = "train") -> tuple[str, ...]:
    """Every caption of the scene; none of those for tests is one for training."""
    labels = [event.label for event in sorted(scene.events, key=lambda event: event.onset)]
    heard = [mention(label) for label in labels]
    said = {
        "b": noun(scene.background[0].label),
        "all": " and ".join(filter(None, (", ".join(heard[:-1]), *heard[-1:]))),
        "turn": ", then ".join(heard),
    }
    found = (text.format(**said) for text in (_HEARD if heard else _EMPTY)[templates])
    return tuple(text[0].upper() + text[1:] for text in found)


def corpus(events: Sequence[str], backgrounds: Sequence[str], most: int = 2) -> Iterator[str]:
    """Training captions that together hold every word which any of them can have, and the longest
    of scenes of up to `most` events."""

    def scene(background: str, *heard: str) -> Scene:
        layers = (Layer(background, "", 0.0),)
        return Scene(0.0, 0.0, layers, tuple(Event(x, "", 0.0, 0.0, 0.0, 0.0) for x in heard))

    for background in backgrounds:
        yield from describe(scene(background))
    for event in events:
        yield from describe(scene(backgrounds[0], event, event))
    longest, background = (max(of, key=_words) for of in (events, backgrounds))
    yield from describe(scene(background, *[longest] * most))


def _words(label: str) -> int:
    return len(mention(label).split())
