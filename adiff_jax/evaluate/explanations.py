"""Explanations of tier 1 to 3, scored by the sounds and the changes that they state.

A reader (`data/synth/tier_reader.py` for our own wordings) says what a sentence gives to either
clip, what it names at all, and which edits it states. Over a pair's *true events*: at tier 1 and 3
the events of either clip; at tier 2, which lists none, those that its true edits name, an added one
in clip 2, a removed one in clip 1, a replaced one in clip 1 and its replacement in clip 2, any
other in both; what a sentence of tier 2 gives to either clip follows from the edits it states in
the same way. Each score is a ratio of sums over pairs; an F1 is the mean of the pairs' own, over
the pairs with anything true to find, so that two systems can be compared pair by pair.

events.f1                labels named anywhere in the sentence against the true events of the pair
events.precision, recall   labels named that are true, over those named, and over the true ones
clip_events.f1           the same as F1 of (clip, label): what is given to which clip
attribution.right_clip   of true events of one clip only that are given to any, those given to it
hallucination.share      of labels named as events, those that neither clip holds, not even as its
                         background
omission.share           of true events, those never named
attributes.f1            edits stated against true edits, each with operation (louder, earlier,
                         background swapped, added, ...), event and replacement; without "none"
overall.f1               how clip 2 compares as a whole (louder, darker, ...), against the reference
unreadable.change        sentences in which no change can be read, "nothing changed" included
unreadable.sounds        sentences that name no known sound at all
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, Edit, Truth
from adiff_jax.data.synth.tier_reader import Explained
from adiff_jax.evaluate.clip_sounds import ReadSounds
from adiff_jax.evaluate.structured import NOTHING, Measure, Program, ReadEdits

ReadExplanation = Callable[[str], Explained]
"""A sentence -> what it says; there is no sentence of which nothing can be said."""

Sides = tuple[frozenset[str], frozenset[str]]
"""Labels of clip 1 and of clip 2."""

LISTING_TIERS = (1, 3)
"""Tiers whose explanations list the events of either clip."""


def asks_for_caption(truth: Truth) -> bool:
    """Whether a sentence on single clips is asked for, which states no change."""
    return truth.tier == 0 and truth.prompt != ""


def can_judge(truth: Truth) -> bool:
    """Whether an explanation is asked for of a pair of which all is known."""
    known = None not in (truth.edits, truth.heard, truth.backgrounds)
    return truth.tier > 0 and known and len(truth.heard or ()) == 2


class Readers(NamedTuple):
    """What takes sentences apart: the imperatives of tier 0, explanations, and captions of single
    clips."""

    edits: ReadEdits
    explanation: ReadExplanation
    sounds: ReadSounds

    def program(self, text: str, truth: Truth) -> Program | None:
        """The edits that a sentence states, read as the kind that its pair asked for."""
        return self.explanation(text).edits if truth.tier else self.edits(text)


def measures(
    texts: Sequence[str], truths: Sequence[Truth], read_explanation: ReadExplanation
) -> dict[str, Measure]:
    """Every score of the module docstring, by dotted name. Each truth is one of `can_judge`."""
    said = [read_explanation(text) for text in texts]
    judged = [_judge(*pair) for pair in zip(truths, said, strict=True)]
    true = [pair.true[0] | pair.true[1] for pair in judged]
    named = [pair.said.named for pair in judged]
    found = [len(t & n) for t, n in zip(true, named, strict=True)]
    missed = [len(t - n) for t, n in zip(true, named, strict=True)]
    everywhere = [1] * len(judged)
    attributed = [_attributed(pair) for pair in judged]
    edits = [frozenset(truth.edits or ()) - NOTHING for truth in truths]
    stated = [(one.edits or frozenset()) - NOTHING for one in said]
    overall = [_overall(truth, read_explanation) for truth in truths]
    return {
        "events.f1": _f1(true, named),
        "events.precision": _measure(found, [len(n) for n in named]),
        "events.recall": _measure(found, [len(t) for t in true]),
        "clip_events.f1": _f1(
            [_by_clip(pair.true) for pair in judged], [_by_clip(pair.given) for pair in judged]
        ),
        "attribution.right_clip": _measure(
            [right for right, _ in attributed], [given for _, given in attributed]
        ),
        "hallucination.share": _measure(
            [len(n - pair.present) for n, pair in zip(named, judged, strict=True)],
            [len(n) for n in named],
        ),
        "omission.share": _measure(missed, [len(t) for t in true]),
        "attributes.f1": _f1(edits, stated),
        "overall.f1": _f1(overall, [one.overall for one in said]),
        "unreadable.change": _measure([one.edits is None for one in said], everywhere),
        "unreadable.sounds": _measure([one.silent for one in said], everywhere),
    }


class _Judged(NamedTuple):
    said: Explained
    true: Sides
    given: Sides
    present: frozenset[str]  # in either clip, backgrounds included


def _judge(truth: Truth, said: Explained) -> _Judged:
    assert truth.heard is not None and truth.backgrounds is not None
    first, second = truth.heard
    present = frozenset((*first, *second, *truth.backgrounds))
    if truth.tier in LISTING_TIERS:
        return _Judged(said, (frozenset(first), frozenset(second)), said.events, present)
    return _Judged(said, _implied(truth.edits or ()), _implied(said.edits or ()), present)


def _implied(edits: Iterable[Edit]) -> Sides:
    """What edits say of the events in either clip."""
    first, second = set(), set()
    for edit in edits:
        if edit.operation in ("none", *BACKGROUND_OPERATIONS):
            continue
        if edit.operation != "add":
            first.add(edit.event)
        if edit.operation != "remove":
            second.add(edit.replacement or edit.event)
    return frozenset(first), frozenset(second)


def _attributed(pair: _Judged) -> tuple[int, int]:
    """How many events of one clip only are given to that clip only, and to any clip."""
    right = given = 0
    for here, there in ((0, 1), (1, 0)):
        for label in pair.true[here] - pair.true[there]:
            given += label in pair.given[here] | pair.given[there]
            right += label in pair.given[here] - pair.given[there]
    return right, given


def _overall(truth: Truth, read_explanation: ReadExplanation) -> frozenset[str]:
    """What the reference says of the clips as wholes; nothing without one."""
    return read_explanation(truth.references[0]).overall if truth.references else frozenset()


def _by_clip(sides: Sides) -> frozenset[tuple[int, str]]:
    return frozenset((clip, label) for clip, labels in enumerate(sides) for label in labels)


def _f1(true: Sequence[frozenset], said: Sequence[frozenset]) -> Measure:
    """The F1 of every pair that has anything true; nothing said is 0."""
    values = [
        2 * len(t & s) / (len(t) + len(s)) if t else 0.0 for t, s in zip(true, said, strict=True)
    ]
    return _measure(values, [bool(t) for t in true])


def _measure(values: Sequence[float | int], counts: Sequence[int]) -> Measure:
    return Measure(np.array(values, np.float64), np.array(counts, np.float64))
