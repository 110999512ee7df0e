"""Captions of single clips, scored by the sounds that they name.

A reader (`data/synth/tier_reader.py`) finds the known labels in a sentence. Those that stand in the
background of any clip of the data set are backgrounds, unless the clip at hand has them as events;
the others are events. Each score is a ratio of sums over clips; the F1 is the mean of the clips'
own, over the clips that hold an event.

events.f1, events.precision, events.recall   events named, against the events heard
background.accuracy     the backgrounds named are the one there is
hallucination.share     of events named, those that the clip does not hold
omission.share          of events heard, those never named
unreadable.sounds       sentences that name no known sound at all
"""

from collections.abc import Callable, Sequence

import numpy as np

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.structured import Measure

ReadSounds = Callable[[str], frozenset[str]]
"""A sentence -> the labels it names."""


def can_judge(truth: Truth) -> bool:
    """Whether a caption is asked for of one clip of which all is known."""
    return truth.heard is not None and truth.backgrounds is not None and len(truth.heard) == 1


def measures(
    texts: Sequence[str], truths: Sequence[Truth], read_sounds: ReadSounds
) -> dict[str, Measure]:
    """Every score of the module docstring, by dotted name. Each truth is one of `can_judge`."""
    true = [frozenset((truth.heard or ((),))[0]) for truth in truths]
    backgrounds = [frozenset(truth.backgrounds or ()) for truth in truths]
    behind = frozenset().union(*backgrounds)
    said = [read_sounds(text) for text in texts]
    named = [sounds - (behind - heard) for sounds, heard in zip(said, true, strict=True)]
    found = [len(t & n) for t, n in zip(true, named, strict=True)]
    behind_said = [
        (sounds & behind) - (heard - own)
        for sounds, heard, own in zip(said, true, backgrounds, strict=True)
    ]
    return {
        "events.f1": _measure(
            [
                2 * k / (len(t) + len(n)) if t else 0.0
                for k, t, n in zip(found, true, named, strict=True)
            ],
            [bool(t) for t in true],
        ),
        "events.precision": _measure(found, [len(n) for n in named]),
        "events.recall": _measure(found, [len(t) for t in true]),
        "background.accuracy": _measure(
            [b == s for b, s in zip(backgrounds, behind_said, strict=True)], [1] * len(truths)
        ),
        "hallucination.share": _measure(
            [len(n) - k for k, n in zip(found, named, strict=True)], [len(n) for n in named]
        ),
        "omission.share": _measure(
            [len(t) - k for k, t in zip(found, true, strict=True)], [len(t) for t in true]
        ),
        "unreadable.sounds": _measure([not s for s in said], [1] * len(said)),
    }


def _measure(values: Sequence[float | int], counts: Sequence[int]) -> Measure:
    return Measure(np.array(values, np.float64), np.array(counts, np.float64))
