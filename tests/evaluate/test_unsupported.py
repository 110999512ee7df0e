"""Warnings of events that neither clip seems to hold, and how right they are."""

from typing import Any

import numpy as np
import pytest

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.unsupported import THRESHOLD, unsupported, warnings_score

CLASSES = ("bell", "rain", "siren", "train")


def truth(heard: Any, backgrounds: Any = None) -> Truth:
    return Truth("x", (), None, (), heard=heard, backgrounds=backgrounds)


def test_an_event_is_unsupported_below_the_threshold_in_both_clips_only():
    low, high = THRESHOLD - 0.01, THRESHOLD
    probabilities = np.array([[low, high, low, low], [high, low, low, low]])
    assert unsupported("a bell, some rain, a siren", CLASSES, probabilities) == ("siren",)
    assert unsupported("a siren and a train", CLASSES, probabilities) == ("siren", "train")
    assert unsupported("something else", CLASSES, probabilities) == ()


def test_precision_and_recall_are_over_the_pairs_whose_events_are_known():
    texts = ["a bell and a siren", "a siren and a train", "a siren", "some rain"]
    warned = [("bell", "siren"), ("train",), ("siren",), ()]
    truths = [
        truth((("bell",), ())),  # one right, one wrong
        truth(((), ())),  # two are heard nowhere, of which one is warned of
        truth(None),
        truth((("bell",), ("train",)), ("rain", "rain")),  # a background is heard
    ]
    scores, missing = warnings_score(texts, warned, truths, CLASSES)
    assert scores == pytest.approx(
        {"count": 3, "precision": 2 / 3, "recall": 2 / 3, "threshold": THRESHOLD}
    )
    assert missing == {}


def test_what_cannot_be_measured_is_said():
    assert warnings_score(["a bell"], [()], [truth(None)], CLASSES) == (
        {},
        {"unsupported": "what is heard in the clips of no example is known"},
    )
    scores, missing = warnings_score(["a bell"], [()], [truth((("owl",), ()))], CLASSES)
    assert scores == {} and missing == {"unsupported": "the tagging head has no class 'owl'"}
    scores, missing = warnings_score(["a bell"], [()], [truth((("bell",), ()))], CLASSES)
    assert scores == {"count": 0, "threshold": THRESHOLD}
    assert set(missing) == {"unsupported.precision", "unsupported.recall"}
