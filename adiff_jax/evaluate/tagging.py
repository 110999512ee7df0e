"""Scores of a tagger: average precision per class and its mean (mAP)."""

from collections.abc import Sequence

import numpy as np


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the precision at every positive, by falling score; NaN without positives.

    `scores` [n] float, `labels` [n] bool. Equal scores count as one threshold, so that the order
    of ties does not matter.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = labels[order].astype(np.float64)
    if not ranked.sum():
        return float("nan")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    found = np.cumsum(ranked)[last_of_tie]
    precision = found / (np.flatnonzero(last_of_tie) + 1)
    new = np.diff(found, prepend=0.0)
    return float((precision * new).sum() / ranked.sum())


def tagging_scores(
    scores: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, object]:
    """{"mAP", "classes": {name: average precision}} of [n c] scores and labels."""
    by_class = {
        name: average_precision(scores[:, i], labels[:, i] > 0.5) for i, name in enumerate(classes)
    }
    return {"mAP": float(np.nanmean(list(by_class.values()))), "classes": by_class}
