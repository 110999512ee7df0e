"""Two systems on the same pairs: how much better one is, and whether that is more than chance."""

from collections.abc import Iterator, Sequence

import numpy as np

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.intervals import (
    Clusters,
    Interval,
    paired_interval,
    smallest_detectable_difference,
)
from adiff_jax.evaluate.measuring import Scored
from adiff_jax.evaluate.scoring import ScoreConfig, highest


def compare(
    first: Sequence[Scored], second: Sequence[Scored], truths: Sequence[Truth], config: ScoreConfig
) -> dict[str, Interval]:
    """Differences first - second by dotted name of the score, with paired clustered intervals.

    Args:
        first: one system, scored once for each training seed on the same data set.
        second: the other system, with as many seeds or not.
        truths: the data set.

    Compared are the measures that all runs have and whose denominators do not depend on what was
    said: of the edit scores these are recall and exact match, not precision or F1; of explanations
    also the F1s, which are means over pairs.

    Raises:
        TooFewRecordings: when the data set holds too few separate recordings.
        ValueError: when a list of runs is empty, or a run was scored on another number of pairs.
    """
    clusters = _clusters(truths)
    return {
        name: paired_interval(
            one,
            other,
            clusters,
            counts,
            level=config.level,
            resamples=config.resamples,
            seed=config.seed,
            within=(-highest(name), highest(name)),
        )
        for name, one, other, counts in _shared_measures(first, second, len(truths))
    }


def detectable(
    first: Sequence[Scored],
    second: Sequence[Scored],
    truths: Sequence[Truth],
    config: ScoreConfig,
    seeds: int,
) -> dict[str, float]:
    """By dotted name of the score, the difference that `seeds` runs of each system would find.

    `first` and `second` are a pilot, as for `compare`, which see for what is compared and raised;
    "find" means with a probability of 0.8 at the level of `config`.
    """
    clusters = _clusters(truths)
    return {
        name: smallest_detectable_difference(
            one, other, clusters, counts, seeds=seeds, level=config.level
        )
        for name, one, other, counts in _shared_measures(first, second, len(truths))
    }


def _clusters(truths: Sequence[Truth]) -> Clusters:
    ordered = sorted(truths, key=lambda truth: truth.id)
    return Clusters.of([truth.recordings for truth in ordered])


def _shared_measures(
    first: Sequence[Scored], second: Sequence[Scored], pairs: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(name, values of the first [seeds n], of the second, counts [n]) of what can be compared."""
    if not first or not second:
        raise ValueError("each system needs at least one run to compare")
    runs = [*first, *second]
    for run in runs:
        if run.scores["count"] != pairs:
            raise ValueError(
                f"a run was scored on {run.scores['count']} pairs, but the data set holds {pairs}: "
                "score every run on the same split"
            )
    for name, (_, counts) in first[0].measures.items():
        if any(name not in run.measures for run in runs):
            continue
        if any(not np.array_equal(run.measures[name].counts, counts) for run in runs):
            continue
        one, other = (np.stack([run.measures[name].values for run in s]) for s in (first, second))
        yield name, one, other, counts
