"""Scores of a tagger: average precision per class and its mean (mAP)."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the precision at every positive, by falling score.

    `scores` [n] float, `labels` [n] bool, one of them True. Equal scores count as one threshold,
    so that the order of ties does not matter.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = labels[order].astype(np.float64)
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    found = np.cumsum(ranked)[last_of_tie]
    precision = found / (np.flatnonzero(last_of_tie) + 1)
    new = np.diff(found, prepend=0.0)
    return float((precision * new).sum() / ranked.sum())


def tagging_scores(
    scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """{"mAP", "classes": {name: average precision}, "missing"} of [n c] scores and labels.

    Classes that no clip has are no part of the mean and are listed under "missing". Raises
    ValueError when there is no other.
    """
    heard = labels > 0.5
    by_class = {
        name: average_precision(scores[:, i], heard[:, i])
        for i, name in enumerate(classes)
        if heard[:, i].any()
    }
    if not by_class:
        raise ValueError("no clip has any of the classes: there is nothing to score")
    return {
        "mAP": float(np.mean(list(by_class.values()))),
        "classes": by_class,
        "missing": [name for name in classes if name not in by_class],
    }
