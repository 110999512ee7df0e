"""Warnings of events that a sentence names although neither clip seems to hold them.

An event is unsupported when the tagging head gives it a probability below `THRESHOLD` in both
clips. Whether that is worth saying depends on the head, so it is measured on pairs whose events are
known: precision is the share of warnings of which it is true that neither clip holds the event, not
even as its background; recall the share of such events, among those that sentences name, that are
warned of. Warnings are shown to users once their precision is `PRECISE` over `ENOUGH` of them, all
splits together that a checkpoint has answered: whichever was last must not decide.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from adiff_jax.data.schema import Truth
from adiff_jax.data.synth.event_names import named_events
from adiff_jax.evaluate.scoring import write_metrics
from adiff_jax.storage import located

THRESHOLD = 0.1
PRECISE = 0.8
ENOUGH = 20


def unsupported(text: str, classes: tuple[str, ...], probabilities: np.ndarray) -> tuple[str, ...]:
    """The events of `classes` that `text` names and that are below `THRESHOLD` in both clips of
    `probabilities` [2 c], in the order in which they are named."""
    weak = probabilities.max(axis=0) < THRESHOLD
    return tuple(name for name in named_events(text, classes) if weak[classes.index(name)])


def warnings_score(
    texts: Sequence[str],
    warned: Sequence[Sequence[str]],
    truths: Sequence[Truth],
    classes: tuple[str, ...],
) -> tuple[dict[str, Any], dict[str, str]]:
    """How right `warned`, the unsupported events of each text, is; and why what is absent is.

    {"precision", "recall", "count", "threshold"} over the pairs whose events are known, `count`
    the number of warnings. Pairs with an event that is none of `classes` say nothing: that the
    head lacks a name for it does not mean that it is not heard.
    """
    known = [place for place, truth in enumerate(truths) if truth.heard is not None]
    if not known:
        return {}, {"unsupported": "what is heard in the clips of no example is known"}
    present = {place: _present(truths[place]) for place in known}
    if unnamed := set().union(*present.values()) - {*classes}:
        return {}, {"unsupported": f"the tagging head has no class {min(unnamed)!r}"}
    given = wrong = right = 0
    for place in known:
        false = {*named_events(texts[place], classes)} - present[place]
        given += len(warned[place])
        wrong += len(false)
        right += len(false & {*warned[place]})
    scores: dict[str, Any] = {"count": given, "threshold": THRESHOLD}
    missing = {}
    if given:
        scores["precision"] = right / given
    else:
        missing["unsupported.precision"] = "there was nothing to warn of"
    if wrong:
        scores["recall"] = right / wrong
    else:
        missing["unsupported.recall"] = "no sentence names an event that neither clip holds"
    return scores, missing


@dataclass(frozen=True)
class Measured:
    """How right the warnings of a run were, on all of `splits` together."""

    precision: float
    count: int
    splits: tuple[str, ...]

    def __str__(self) -> str:
        where = ", ".join(self.splits)
        return f"on {where} {self.precision:.0%} of {self.count} such warnings were right"


def remember(path: epath.PathLike, checkpoint: int, split: str, scores: Mapping[str, Any]) -> None:
    """Put the `warnings_score` of a split into the run's file beside those of its other splits.

    What the file says of another checkpoint goes: it is no longer true.
    """
    splits = _splits(path, checkpoint) | {split: dict(scores)}
    write_metrics(path, {"checkpoint": checkpoint, "splits": splits})


def trusted(path: epath.PathLike, checkpoint: int) -> Measured | None:
    """What `remember` has kept of the warnings of a checkpoint; None when nothing was measured, or
    they are not right often enough to be shown. Raises ValueError for a file that cannot be read.
    """
    given = {
        name: scores
        for name, scores in _splits(path, checkpoint).items()
        if scores["threshold"] == THRESHOLD and scores["count"]
    }
    count = sum(scores["count"] for scores in given.values())
    if count < ENOUGH:
        return None
    right = sum(scores["precision"] * scores["count"] for scores in given.values())
    measured = Measured(right / count, count, tuple(given))
    return measured if measured.precision >= PRECISE else None


def _splits(path: epath.PathLike, checkpoint: int) -> dict[str, dict[str, Any]]:
    """Scores by split, of this checkpoint."""
    file = located(path)
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text())
        return dict(found["splits"]) if found["checkpoint"] == checkpoint else {}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read ({error!r}): delete it, `adiff evaluate` writes it anew"
        ) from error


def _present(truth: Truth) -> set[str]:
    first, second = truth.heard or ((), ())
    return {*first, *second, *(truth.backgrounds or ())}
