"""Warnings of events that neither clip seems to hold, and how right they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.unsupported import (
    ENOUGH,
    PRECISE,
    THRESHOLD,
    Measured,
    remember,
    trusted,
    unsupported,
    warnings_score,
)

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


def scores(precision: float, count: int, threshold: float = THRESHOLD) -> dict[str, Any]:
    return {"precision": precision, "count": count, "threshold": threshold}


def test_warnings_are_trusted_by_all_splits_together(tmp_path: Path):
    file = tmp_path / "unsupported.json"
    assert trusted(file, 7) is None
    remember(file, 7, "good", scores(PRECISE + 0.1, ENOUGH))
    remember(file, 7, "silent", {"count": 0, "threshold": THRESHOLD})
    assert trusted(file, 7) == Measured(PRECISE + 0.1, ENOUGH, ("good",))
    remember(file, 7, "worse", scores(PRECISE - 0.05, ENOUGH))
    both = trusted(file, 7)
    assert both is not None and both.splits == ("good", "worse")
    assert (both.precision, both.count) == (pytest.approx(PRECISE + 0.025), 2 * ENOUGH)
    remember(file, 7, "worse", scores(PRECISE - 0.15, ENOUGH))  # answered again
    assert trusted(file, 7) is None


def test_warnings_are_not_trusted_for_few_nor_for_what_was_measured_otherwise(tmp_path: Path):
    file = tmp_path / "unsupported.json"
    remember(file, 7, "few", scores(1.0, ENOUGH - 1))
    remember(file, 7, "other", scores(1.0, ENOUGH, THRESHOLD / 2))
    assert trusted(file, 7) is None
    remember(file, 8, "later", scores(1.0, ENOUGH))
    assert trusted(file, 8) == Measured(1.0, ENOUGH, ("later",))
    assert trusted(file, 7) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"checkpoint": 7}'])
def test_a_damaged_file_says_how_to_get_another(tmp_path: Path, text: str):
    file = tmp_path / "unsupported.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"unsupported\.json cannot be read.*delete it"):
        trusted(file, 7)
