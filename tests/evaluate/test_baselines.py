"""Answers that need no model: the most frequent caption, and that of the nearest training pair."""

import numpy as np
import pytest

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.baselines import most_frequent, nearest

TRUTHS = [Truth(str(place), ("ref",), None, ()) for place in range(3)]


def test_the_most_frequent_caption_answers_everything_and_ties_go_to_the_first_by_text():
    rows = most_frequent(["b", "a", "c", "b", "a"], TRUTHS)
    assert [(row.id, row.text, row.references) for row in rows] == [
        (id, "a", ("ref",)) for id in "012"
    ]
    with pytest.raises(ValueError, match="no captions"):
        most_frequent([], TRUTHS)


def test_the_nearest_caption_is_by_angle_not_by_length_and_the_first_of_equals():
    training = np.array([[1, 0], [0, 100], [0, 1], [-1, 0]], np.float32)
    queries = np.array([[5, 1], [0.1, 0.2], [-1, 0.5]], np.float32)
    rows = nearest(queries, TRUTHS, training, ["east", "north", "north too", "west"])
    assert [row.text for row in rows] == ["east", "north", "west"]


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_an_embedding_without_direction_is_refused_by_its_row(bad):
    queries = np.ones((3, 2))
    queries[1] = bad
    with pytest.raises(ValueError, match="row 1 of the embeddings"):
        nearest(queries, TRUTHS, np.ones((1, 2)), ["a"])


def test_blocks_of_queries_give_each_its_own_neighbour():
    rng = np.random.default_rng(0)
    training = rng.normal(size=(50, 8))
    places = rng.integers(50, size=2500)
    truths = [Truth(str(place), (), None, ()) for place in range(2500)]
    rows = nearest(3 * training[places], truths, training, [str(i) for i in range(50)])
    assert [int(row.text) for row in rows] == places.tolist()
