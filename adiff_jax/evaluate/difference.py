"""Two systems on the same pairs: how much better one is, and whether that is more than chance."""

from collections.abc import Sequence

import numpy as np

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.intervals import Clusters, Interval, paired_interval
from adiff_jax.evaluate.scoring import ScoreConfig, Scored


def compare(
    first: Sequence[Scored], second: Sequence[Scored], truths: Sequence[Truth], config: ScoreConfig
) -> dict[str, Interval]:
    """Differences first - second by dotted name of the score, with paired clustered intervals.

    Args:
        first: one system, scored once for each training seed on the same data set.
        second: the other system, with as many seeds or not.
        truths: the data set.

    Compared are the measures that all runs have and whose denominators do not depend on what was
    said; of the edit scores these are recall and exact match, not precision or F1.

    Raises:
        TooFewRecordings: when the data set holds too few separate recordings.
        ValueError: when a list of runs is empty or was scored on another data set.
    """
    if not first or not second:
        raise ValueError("each system needs at least one run to compare")
    ordered = sorted(truths, key=lambda truth: truth.id)
    clusters = Clusters.of([truth.recordings for truth in ordered])
    runs = [*first, *second]
    differences = {}
    for name, (_, counts) in first[0].measures.items():
        if any(name not in run.measures for run in runs):
            continue
        if any(not np.array_equal(run.measures[name].counts, counts) for run in runs):
            continue
        differences[name] = paired_interval(
            np.stack([run.measures[name].values for run in first]),
            np.stack([run.measures[name].values for run in second]),
            clusters,
            counts,
            level=config.level,
            resamples=config.resamples,
            seed=config.seed,
        )
    return differences
