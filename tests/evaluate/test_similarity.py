"""Quartiles of pairs by how alike their clips are."""

import numpy as np
import pytest

from adiff_jax.evaluate.similarity import QUARTILES, quartile_measures, quartiles
from adiff_jax.evaluate.structured import Measure

NAME = "tiers.1.explanations.events.f1"


def test_quartiles_are_of_equal_size_and_ordered_by_similarity():
    similarity = np.random.default_rng(0).permutation(40) / 40 - 0.5
    group = quartiles(similarity)
    assert np.bincount(group).tolist() == [10, 10, 10, 10]
    for place in range(3):
        assert similarity[group == place].max() < similarity[group == place + 1].min()


def test_pairs_that_are_equally_alike_are_in_one_quartile():
    assert len(set(quartiles(np.ones(9)))) == 1
    similarity = np.array([0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0])
    group = quartiles(similarity)
    assert len(set(group[1:5])) == 1 and len(set(group[5:])) == 1
    assert group[1] < group[5]


@pytest.mark.parametrize("similarity", [[0.1, np.nan], [], [[0.1]]])
def test_similarities_that_say_nothing_are_refused(similarity):
    with pytest.raises(ValueError, match="finite numbers, one for every pair"):
        quartiles(np.array(similarity))


def test_measures_of_a_quartile_are_those_of_its_pairs():
    rng = np.random.default_rng(1)
    similarity, values = rng.uniform(size=40), rng.uniform(size=40)
    counts = np.arange(40) % 3 > 0
    measures = {
        NAME: Measure(values * counts, counts * 1.0),
        "captions.bleu_4": Measure(*[values] * 2),
    }
    found = quartile_measures(measures, similarity)
    assert tuple(found) == QUARTILES
    order = np.argsort(similarity)
    for place, quartile in enumerate(QUARTILES):
        assert set(found[quartile]) == {NAME}  # others are not told by similarity
        own = order[10 * place : 10 * place + 10]
        one = found[quartile][NAME]
        assert one.values.sum() == pytest.approx((values * counts)[own].sum())
        assert one.counts.sum() == counts[own].sum()
    assert sum(one[NAME].counts.sum() for one in found.values()) == counts.sum()
