"""Average precision against its definition, threshold by threshold."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adiff_jax.evaluate.tagging import average_precision, tagging_scores


def by_definition(scores: np.ndarray, labels: np.ndarray) -> float:
    """Sum over falling thresholds of (gain in recall) x precision."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        recall = (labels & chosen).sum() / labels.sum()
        total += (recall - before) * (labels & chosen).sum() / chosen.sum()
        before = recall
    return total


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=20))
def test_it_is_the_area_under_the_steps_of_precision_ties_taken_together(rows):
    scores = np.array([score for score, _ in rows], np.float64)
    labels = np.array([label for _, label in rows])
    if not labels.any():
        labels[0] = True
    assert average_precision(scores, labels) == pytest.approx(by_definition(scores, labels))


def test_a_value_worked_by_hand():
    # Ranks of the positives: 1, 3 and 4, so (1/1 + 2/3 + 3/4) / 3.
    scores, labels = np.array([0.1, 0.9, 0.7, 0.5, 0.6]), np.array([0, 1, 0, 1, 1], bool)
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_the_order_of_rows_does_not_matter_even_among_ties():
    scores, labels = np.array([1.0, 1.0, 1.0, 0.0]), np.array([1, 0, 0, 1], bool)
    for order in itertools.permutations(range(4)):
        found = average_precision(scores[list(order)], labels[list(order)])
        assert found == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_only_the_order_of_the_scores_counts():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=30), rng.uniform(size=30) < 0.3
    assert average_precision(np.exp(3 * scores), labels) == average_precision(scores, labels)


def test_map_is_the_mean_over_classes_by_name():
    scores = np.array([[0.9, 0.1], [0.8, 0.7], [0.1, 0.3]])
    labels = np.array([[1, 1], [0, 0], [1, 1]], np.float32)
    found = tagging_scores(scores, labels, ("rain", "bell"))
    assert found["classes"] == {
        "rain": pytest.approx((1 + 2 / 3) / 2),
        "bell": pytest.approx((1 / 2 + 2 / 3) / 2),
    }
    assert found["mAP"] == pytest.approx(np.mean(list(found["classes"].values())))
    assert found["missing"] == []


def test_a_class_that_no_clip_has_is_named_and_not_part_of_the_mean():
    scores, labels = np.array([[0.9, 0.1], [0.8, 0.7]]), np.array([[1, 0], [0, 0]], np.float32)
    found = tagging_scores(scores, labels, ("rain", "bell"))
    assert found == {"mAP": 1.0, "classes": {"rain": 1.0}, "missing": ["bell"]}


def test_labels_without_any_class_cannot_be_scored():
    with pytest.raises(ValueError, match="no clip has any of the classes"):
        tagging_scores(np.zeros((3, 2)), np.zeros((3, 2)), ("rain", "bell"))
