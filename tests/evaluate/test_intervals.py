"""Intervals cover the truth when recordings, not pairs, are what varies."""

import numpy as np
import pytest

from adiff_jax.evaluate.intervals import (
    Clusters,
    TooFewRecordings,
    interval,
    paired_interval,
    smallest_detectable_difference,
)

TRIALS = 300
LOWEST = 0.90
"""A share of 300 trials that intervals of 94 % hardly ever fall below (three standard errors)."""


class World:
    """Pairs of one of 16 backgrounds and one to three of 64 event recordings (8 a class)."""

    def __init__(self, pairs=600, seed=0):
        rng = np.random.default_rng(seed)
        self.recordings = []
        for _ in range(pairs):
            classes = rng.choice(8, rng.integers(1, 4), replace=False)
            events = [f"event-{c}-{rng.integers(8)}" for c in classes]
            self.recordings.append([f"background-{rng.integers(16)}", *events])
        names = sorted({name for heard in self.recordings for name in heard})
        self.heard = np.array(
            [[name in heard for name in names] for heard in self.recordings], float
        )
        self.clusters = Clusters.of(self.recordings)

    def effect(self, rng, size):
        """A sum of one random effect for each recording of a pair, [n]; its mean is 0."""
        return self.heard @ rng.normal(0, size, self.heard.shape[1])


@pytest.fixture(scope="module")
def world():
    return World()


def covered(make, ends, truth):
    """Share of simulated data sets whose interval holds `truth`."""
    rng = np.random.default_rng(1)
    found = [ends(make(rng)) for _ in range(TRIALS)]
    return float(np.mean([low <= truth <= high for low, high in found]))


def of_pairs(values):
    error = values.std() / np.sqrt(len(values))
    return values.mean() - 1.96 * error, values.mean() + 1.96 * error


def test_clustered_intervals_cover_where_pair_intervals_are_far_too_narrow(world):
    def make(rng):
        return world.effect(rng, 0.4) + rng.normal(0, 1, world.clusters.pairs)

    ours = covered(make, lambda v: interval(v, world.clusters, resamples=1000)[1:], 0.0)
    assert LOWEST <= ours <= 0.99
    assert covered(make, of_pairs, 0.0) < 0.7


def test_intervals_stay_close_to_pair_intervals_when_recordings_do_not_matter(world):
    rng = np.random.default_rng(2)
    ratios = []
    for _ in range(50):
        values = rng.normal(0, 1, world.clusters.pairs)
        low, high = of_pairs(values)
        mean, clustered_low, clustered_high = interval(values, world.clusters, resamples=1000)
        assert mean == pytest.approx(values.mean())
        ratios.append((clustered_high - clustered_low) / (high - low))
    # Weighting a pair by the product of its recordings' counts would give about 3.
    assert 0.95 < np.mean(ratios) < 1.3


def test_paired_intervals_drop_what_two_systems_share(world):
    def make(rng):
        shared = world.effect(rng, 1.0)
        noise = rng.normal(0, 0.5, (2, world.clusters.pairs))
        return shared + world.effect(rng, 0.1) + noise[0] + 0.2, shared + noise[1]

    paired = covered(make, lambda ab: paired_interval(*ab, world.clusters, resamples=1000)[1:], 0.2)
    assert LOWEST <= paired <= 0.99
    first, second = make(np.random.default_rng(3))
    one = interval(first, world.clusters)
    both = paired_interval(first, second, world.clusters)
    assert both.high - both.low < 0.5 * (one.high - one.low)


def test_intervals_over_seeds_cover_and_one_seed_alone_does_not(world):
    def make(rng):
        runs = rng.normal(0, 0.3, (5, 1))
        noise = rng.normal(0, 0.5, (5, world.clusters.pairs))
        return runs + world.effect(rng, 0.1) + noise

    assert LOWEST <= covered(make, lambda v: interval(v, world.clusters, resamples=1000)[1:], 0.0)
    assert covered(make, lambda v: interval(v[0], world.clusters, resamples=1000)[1:], 0.0) < 0.7


def test_ratio_intervals_cover_with_uneven_counts(world):
    def make(rng):
        counts = rng.integers(0, 4, world.clusters.pairs).astype(float)
        return counts * (0.5 + world.effect(rng, 0.1) + rng.normal(0, 0.2, len(counts))), counts

    share = covered(
        make, lambda vc: interval(vc[0], world.clusters, vc[1], resamples=1000)[1:], 0.5
    )
    assert LOWEST <= share <= 0.99


def test_variance_counts_two_pairs_once_if_they_share_any_recording(world):
    rng = np.random.default_rng(4)
    pull = rng.normal(0, 1, world.clusters.pairs) + world.effect(rng, 1.0)
    share = (world.heard @ world.heard.T > 0).astype(float)
    counts = rng.integers(1, 3, world.clusters.pairs).astype(float)
    weights = counts / counts.sum()
    mean_effect = weights @ world.heard
    pulls = weights[:, None] * (world.heard - mean_effect)
    seen = np.einsum("ir,ij,jr->", pulls, share, pulls, optimize=True) / np.sum(mean_effect**2)
    expected = pull @ share @ pull / seen
    assert expected > np.sum(pull**2)
    assert world.clusters.variance(pull, counts) == pytest.approx(expected)


def test_pairs_without_recordings_are_units_of_their_own():
    values = np.random.default_rng(5).normal(0, 1, 400)
    ends = interval(values, Clusters.of([()] * 400), resamples=20_000)
    low, high = of_pairs(values)
    assert ends.high - ends.low == pytest.approx(high - low, rel=0.03)


def test_order_of_pairs_and_names_of_recordings_do_not_move_the_ends(world):
    values = world.effect(np.random.default_rng(6), 1.0)
    ends = interval(values, world.clusters, resamples=20_000)
    order = np.random.default_rng(7).permutation(len(values))
    renamed = [[name[::-1] for name in world.recordings[place]] for place in order]
    again = interval(values[order], Clusters.of(renamed), resamples=20_000)
    np.testing.assert_allclose(again, ends, atol=0.03 * (ends.high - ends.low))
    assert interval(values, world.clusters) == interval(values, world.clusters)


def test_intervals_of_shares_stay_between_none_and_all(world):
    values = np.zeros(world.clusters.pairs)
    assert interval(values, world.clusters) == (0.0, 0.0, 0.0)
    values[0] = 1.0
    assert interval(values, world.clusters).low < 0.0
    assert interval(values, world.clusters, within=(0.0, 1.0)).low == 0.0


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_smallest_detectable_difference_is_found_with_its_power(world, spread):
    rng = np.random.default_rng(8)

    def arms(effect):
        runs = rng.normal(0, spread, (2, 5, 1))
        noise = rng.normal(0, 1, (2, 5, world.clusters.pairs))
        return runs[0] + noise[0] + world.effect(rng, 0.1) + effect, runs[1] + noise[1]

    detectable = np.mean(
        [smallest_detectable_difference(*arms(0.0), world.clusters) for _ in range(20)]
    )
    found = [
        paired_interval(*arms(detectable), world.clusters, resamples=1000).low > 0
        for _ in range(TRIALS)
    ]
    # Above 0.8, because the interval counts the noise of pairs twice: over pairs and over seeds.
    assert 0.76 < np.mean(found) < 0.94


def test_more_seeds_and_only_they_lower_the_seed_part_of_the_detectable_difference(world):
    rng = np.random.default_rng(9)
    first, second = rng.normal(0, 1, (2, 4, 1)) + np.zeros((2, 4, world.clusters.pairs))
    few = smallest_detectable_difference(first, second, world.clusters, seeds=4)
    many = smallest_detectable_difference(first, second, world.clusters, seeds=16)
    # Half by the number of runs, less by what few runs do not know of their spread.
    assert few / 4 < many < few / 2
    with pytest.raises(ValueError, match="plan at least two"):
        smallest_detectable_difference(first, second, world.clusters, seeds=1)


def test_differences_of_shares_stay_between_all_and_none():
    """Three seeds of each: their spread alone would reach beyond."""
    clusters = Clusters.of([(f"r{place}",) for place in range(8)])
    right = np.ones((3, 8))
    wrong = np.zeros((3, 8))
    wrong[0, :4] = 1
    free = paired_interval(right, wrong, clusters)
    assert free.low < free.mean < 1 < free.high
    assert paired_interval(right, wrong, clusters, within=(-1.0, 1.0)) == (free.mean, free.low, 1)
    assert paired_interval(wrong, right, clusters, within=(-1.0, 1.0)).low == -1


def test_one_recording_in_all_pairs_allows_no_interval():
    with pytest.raises(TooFewRecordings):
        interval([0.0, 1.0, 1.0], Clusters.of([["a"], ["a"], ["a"]]))


@pytest.mark.parametrize(
    ("values", "counts"), [([1.0], None), ([1.0, np.nan], None), ([0.0, 0.0], [0.0, 0.0])]
)
def test_values_that_do_not_fit_are_refused(values, counts):
    with pytest.raises(ValueError):
        interval(values, Clusters.of([["a"], ["b"]]), counts)


def test_seeds_of_either_system_widen_a_paired_interval_alike(world):
    rng = np.random.default_rng(10)
    runs = rng.normal(0, 1, (5, 1)) + np.zeros((5, world.clusters.pairs))
    fixed = np.zeros(world.clusters.pairs)
    forward = paired_interval(runs, fixed, world.clusters, resamples=20_000)
    backward = paired_interval(fixed, runs, world.clusters, resamples=20_000)
    # Nothing but the seeds varies: the ends are those of a t interval of five runs.
    expected = 2 * 2.776 * runs[:, 0].std(ddof=1) / np.sqrt(5)
    for ends in (forward, backward):
        assert ends.high - ends.low == pytest.approx(expected, rel=0.05)
    assert forward.mean == pytest.approx(-backward.mean)
