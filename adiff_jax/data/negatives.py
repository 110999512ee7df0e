"""Negatives of the matching loss that are made before a batch is: sentences that are not true of
the clips, and whether one happens to be true all the same (`adiff_jax.matching`).

Draws are a function of the row's position in training, so that the same seed gives the same
negatives on any number of processes and workers; in evaluation, of the example's id.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from adiff_jax.data.schema import Edit, Example, Source, Truth, reverse
from adiff_jax.data.synth.captions import captions
from adiff_jax.matching import (
    AnotherCaption,
    EditedCaption,
    EpochCaption,
    InBatch,
    Negative,
    SwappedOrder,
)

TRIES = 32
"""Examples that are looked at for a caption which answers the same question."""

_STREAM, _EPOCHS = 4, 5  # 0 to 3 are those of `order` and `buckets`


class Drawn(NamedTuple):
    """A sentence, None for the own one, and whether it is known to be true of its clips, or no
    other could be found."""

    text: str | None
    true: bool


@dataclass(frozen=True)
class Negatives:
    """Draws the negatives of the examples of `source`. Plain data, so that workers can receive it.

    Errors: ValueError for sources without a second example where one is needed, or without
    instructions of our own grammar where these are.
    """

    kind: Negative
    source: Source
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.kind, AnotherCaption) and len(self.source) < 2:
            raise ValueError(
                f"matching.negative is AnotherCaption, but the source holds {len(self.source)} "
                "example: there is no other caption"
            )

    @property
    def made_of_text(self) -> bool:
        """Whether rows carry sentences for this kind, besides their own."""
        return isinstance(self.kind, AnotherCaption | EditedCaption | EpochCaption)

    def __call__(self, example: Example, index: int, draw: int | None, position: int) -> Drawn:
        """The negative of `example`, number `index` of the source, read at a position of the
        training as its `draw` says; at evaluation there is no draw."""
        key = zlib.crc32(example.id.encode()) if draw is None else draw
        bits = np.random.PCG64((key, _STREAM))
        match self.kind:
            case AnotherCaption():
                return self._another(example, index, bits)
            case EditedCaption():
                return edited(example, bits)
            case SwappedOrder():
                return Drawn(None, swap_is_true(example))
            case EpochCaption(rows=rows):
                epoch = 0 if draw is None else position // (rows or len(self.source))
                return self._of_epoch(example, epoch)
            case InBatch():
                return Drawn(None, False)  # drawn from the batch

    def _another(self, example: Example, index: int, bits: np.random.PCG64) -> Drawn:
        for _ in range(TRIES):
            place = int(bits.random_raw()) % (len(self.source) - 1)
            truth = self.source.truth(place + (place >= index))
            which = int(bits.random_raw())
            if truth.prompt == example.prompt and truth.references:
                text = truth.references[which % len(truth.references)]
                return Drawn(text, is_true_of(example, truth, text))
        return Drawn(None, True)

    def _of_epoch(self, example: Example, epoch: int) -> Drawn:
        bits = np.random.PCG64((self.seed, _EPOCHS, epoch))
        truth = self.source.truth(int(bits.random_raw()) % len(self.source))
        if not truth.references:
            raise ValueError(f"matching.negative is EpochCaption, but {truth.id} has no caption")
        text = truth.references[int(bits.random_raw()) % len(truth.references)]
        return Drawn(text, is_true_of(example, truth, text))


def is_true_of(example: Example, other: Truth, text: str) -> bool:
    """Whether `text`, a caption of `other`, is known to be true of `example`: one and the same, or
    of the same recordings, the same edits (where these are unknown, the same sounds), or in the
    same words."""
    recordings = set(example.recordings)
    return (
        other.id == example.id
        or (bool(recordings) and recordings == set(other.recordings))
        or (example.edits is not None and _set(example.edits) == _set(other.edits))
        or (
            example.edits is None
            and example.heard is not None
            and _sounds(example) == _sounds(other)
        )
        or _words(text) in map(_words, example.captions)
    )


def swap_is_true(example: Example) -> bool:
    """Whether the own sentence stays true when the clips are exchanged, or may: a program that is
    its own inverse, a clip paired with itself, and a caption of single clips, which may be alike in
    what it says."""
    if (example.tier == 0 and example.prompt) or _one_clip_twice(example):
        return True
    return example.edits is not None and _set(map(reverse, example.edits)) == _set(example.edits)


def _one_clip_twice(example: Example) -> bool:
    names = [clip.name for clip in example.clips]
    if len(names) == 2 and names[0] == names[1]:
        return True
    held = example.embeddings or example.features or example.waves
    return len(held) == 2 and np.array_equal(held[0], held[1])


def edited(example: Example, bits: np.random.PCG64) -> Drawn:
    """A sentence of our grammar that says one of the edits of `example` the other way round.

    It has the wordings for training. "Nothing changed" has no such sentence. Raises ValueError for
    sentences of another kind.
    """
    if example.edits is None or example.tier or example.prompt:
        raise ValueError(
            "matching.negative is EditedCaption, which turns instructions of made pairs (tier 0) "
            "round: this example has others; take AnotherCaption, InBatch or SwappedOrder"
        )
    places = [place for place, edit in enumerate(example.edits) if reverse(edit) != edit]
    if not places:
        return Drawn(None, True)
    place = places[int(bits.random_raw()) % len(places)]
    edits = list(example.edits)
    edits[place] = reverse(edits[place])
    words = np.random.Generator(np.random.PCG64(int(bits.random_raw())))
    said = captions(edits, words)
    text = said[int(bits.random_raw()) % len(said)]
    return Drawn(text, _set(edits) == _set(example.edits))


def _set(edits: Iterable[Edit] | None) -> frozenset[Edit] | None:
    return None if edits is None else frozenset(edits)


def _sounds(of: Example | Truth) -> tuple[list[list[str]], tuple[str, ...]]:
    """What is heard in every clip, in whatever order."""
    return [sorted(labels) for labels in of.heard or ()], of.backgrounds or ()


def _words(text: str) -> str:
    return " ".join(text.lower().rstrip(".").split())
