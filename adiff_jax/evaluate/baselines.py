"""Two answers that need no model of differences: what any system must beat.

Both give predictions that are scored by the same code as a system's.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.predictions import Prediction


def most_frequent(training_captions: Iterable[str], truths: Sequence[Truth]) -> list[Prediction]:
    """The most frequent training caption for every example; ties go to the first in order of
    text. Raises ValueError when there are no captions."""
    counted = Counter(training_captions)
    if not counted:
        raise ValueError("the most frequent caption of no captions does not exist")
    caption = min(counted, key=lambda text: (-counted[text], text))
    return [_answer(truth, caption) for truth in truths]


def nearest(
    embeddings: np.ndarray,
    truths: Sequence[Truth],
    training_embeddings: np.ndarray,
    training_captions: Sequence[str],
) -> list[Prediction]:
    """The caption of the training pair whose embedding has the largest cosine.

    Args:
        embeddings: [q d] one row for each of `truths`.
        training_embeddings: [n d] one row for each of `training_captions`; the first of equals
            is taken.

    Raises:
        ValueError: on shapes that do not fit, or an embedding that is zero or not finite.
    """
    if len(embeddings) != len(truths) or len(training_embeddings) != len(training_captions):
        raise ValueError(
            f"{len(embeddings)} embeddings for {len(truths)} examples and "
            f"{len(training_embeddings)} for {len(training_captions)} training captions"
        )
    queries, keys = _unit(embeddings, "embeddings"), _unit(training_embeddings, "training")
    answers = []
    for start in range(0, len(queries), 1024):  # A block at a time: the product is [1024 n].
        best = np.argmax(queries[start : start + 1024] @ keys.T, axis=1)
        answers += [training_captions[int(place)] for place in best]
    return [_answer(truth, text) for truth, text in zip(truths, answers, strict=True)]


def _unit(rows: np.ndarray, name: str) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        raise ValueError(f"row {bad[0]} of the {name} is zero or not finite; it has no direction")
    return rows / lengths


def _answer(truth: Truth, text: str) -> Prediction:
    return Prediction(
        id=truth.id,
        text=text,
        references=truth.references,
        prompt=truth.prompt,
        tier=truth.tier,
    )
