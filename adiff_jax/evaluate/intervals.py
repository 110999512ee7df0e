"""Intervals that know which recordings a pair was made of.

Pairs made of the same recording succeed and fail together, so a bootstrap over pairs is several
times too narrow. Every score here is a ratio of sums over pairs, sum(values) / sum(counts), and
its interval is a multiplier bootstrap over the original recordings of both clips:

1. Pair i pulls the score by e_i = (values_i - score * counts_i) / sum(counts).
2. A draw gives every recording a multinomial count (mean 1) and moves the score by
   sum over recordings of (count - 1) * (sum of the e_i of the pairs it is heard in): the first
   order of weighting a pair by the product of its recordings' counts (the pigeonhole bootstrap,
   Owen 2007; products of weights, Owen and Eckles 2012).
3. Product weights count the pairs' own noise 2^k - 1 times for k recordings a pair, step 2 alone
   k times. The draws are therefore scaled to the variance in which two pairs count once if they
   share any recording, however many: the sum of e_i e_j over such pairs, diagonal included
   (Fafchamps and Gubert 2007; Cameron, Gelbach and Miller 2011). Subtracting the score from few
   recordings makes that sum too small; it is divided by what its expectation would be, relative
   to the truth, if recordings had independent effects of one size. It never falls below the
   variance of independent pairs. A draw is divided by the root of a chi-square over its degrees of
   freedom, the effective number of recordings (sum m^2)^2 / sum m^4 less one, where m is the share
   of the counts that a recording is heard in: few recordings tell little of their own variance.
4. With several seeds the per-pair values are averaged over them, and each draw adds the spread
   of the seeds' scores over the square root of their number, times a Student t deviate.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Numbers = np.ndarray | Sequence[Any]

RESAMPLES = 2000
TRIALS = 500  # simulated to see what an interval would find
LEVEL = 0.95


class TooFewRecordings(ValueError):
    """The pairs do not hold enough separate recordings to say how much a score would vary."""


class Interval(NamedTuple):
    """A score and the ends of its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which pairs share recordings, prepared once for all scores of a data set.

    For every non-empty set of recordings that occurs together in some pair there is one subset.
    Summing sign * (sum of e in a subset)^2 is the inclusion-exclusion form of "share any
    recording". A cell is a subset and one recording heard in a pair of that subset.
    """

    pairs: int
    recordings: int
    sign: Any  # [subsets] +1 for odd, -1 for even sizes
    alone: Any  # [recordings] the subset that holds only this recording
    member_pair: Any  # [members] a pair ...
    member_subset: Any  # [members] ... and a subset of its recordings
    entry_pair: Any  # [entries] a pair ...
    entry_cell: Any  # [entries] ... and a cell that it lies in
    cell_subset: Any  # [cells]
    cell_recording: Any  # [cells]

    @classmethod
    def of(cls, recordings: Sequence[Sequence[str]]) -> "Clusters":
        """From the recordings heard in each pair. A pair without any is a unit of its own.

        Raises ValueError for a pair of more than 12 recordings: it has too many subsets.
        """
        names: dict[str | int, int] = {}
        subsets: dict[tuple[int, ...], int] = {}
        cells: dict[tuple[int, int], int] = {}
        members, entries = [], []
        for pair, heard_names in enumerate(recordings):
            units: list[str | int] = sorted(set(heard_names)) or [pair]
            if len(units) > 12:
                raise ValueError(f"pair {pair} lists {len(units)} recordings; at most 12 can be")
            heard = sorted(names.setdefault(unit, len(names)) for unit in units)
            for size in range(1, len(heard) + 1):
                for group in itertools.combinations(heard, size):
                    subset = subsets.setdefault(group, len(subsets))
                    members.append((pair, subset))
                    for one in heard:
                        entries.append((pair, cells.setdefault((subset, one), len(cells))))
        member_pair, member_subset = np.array(members, np.int64).reshape(-1, 2).T
        entry_pair, entry_cell = np.array(entries, np.int64).reshape(-1, 2).T
        cell_subset, cell_recording = np.array(list(cells), np.int64).reshape(-1, 2).T
        return cls(
            pairs=len(recordings),
            recordings=len(names),
            sign=np.array([1.0 if len(subset) % 2 else -1.0 for subset in subsets]),
            alone=np.array([subsets[(one,)] for one in range(len(names))], np.int64),
            member_pair=member_pair,
            member_subset=member_subset,
            entry_pair=entry_pair,
            entry_cell=entry_cell,
            cell_subset=cell_subset,
            cell_recording=cell_recording,
        )

    def sums(self, pull: np.ndarray) -> np.ndarray:
        """Sum of `pull` [n] over the pairs of each subset."""
        return np.bincount(
            self.member_subset, weights=pull[self.member_pair], minlength=len(self.sign)
        )

    def variance(self, pull: np.ndarray, counts: np.ndarray) -> float:
        """Variance of a score whose pairs pull it by `pull` [n] (step 3 above).

        Raises TooFewRecordings when nearly all pairs share recordings with all others.
        """
        sharing = float(np.sum(self.sign * self.sums(pull) ** 2))
        return max(sharing / self._seen_share(counts), float(np.sum(pull**2)))

    def freedom(self, counts: np.ndarray) -> float:
        """Effective number of recordings less one, at least one."""
        squares = (self.sums(counts)[self.alone] / counts.sum()) ** 2
        return max(1.0, float(np.sum(squares) ** 2 / np.sum(squares**2)) - 1)

    def _seen_share(self, counts: np.ndarray) -> float:
        """Expectation of the sharing variance over the true one, recordings having iid effects.

        With effect a_r of recording r the score moves by sum m_r a_r, where m_r is its share of
        the counts, and pair i pulls by counts_i * (sum of its a_r - sum m_r a_r) / total.
        """
        total = counts.sum()
        of_subset = self.sums(counts)
        share = of_subset[self.alone] / total
        of_cell = np.bincount(self.entry_cell, weights=counts[self.entry_pair])
        # Sum over r of (of_cell - of_subset * share_r)^2, of_cell being 0 outside the cells.
        squares = np.bincount(
            self.cell_subset,
            weights=of_cell
            * (of_cell - 2 * of_subset[self.cell_subset] * share[self.cell_recording]),
        )
        squares += of_subset**2 * np.sum(share**2)
        seen = float(np.sum(self.sign * squares) / total**2 / np.sum(share**2))
        if seen < 0.05:
            raise TooFewRecordings("too few separate recordings: nearly all pairs share them")
        return seen


def interval(
    values: Numbers,
    clusters: Clusters,
    counts: Numbers | None = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Interval of sum(values) / sum(counts).

    Args:
        values: [n], or [seeds n] for several training runs scored on the same pairs.
        clusters: the recordings of the n pairs.
        counts: [n] denominators, the same for all seeds; ones (a plain mean) when absent.
        level: share of intervals that should hold the true score.
        within: lowest and highest value that the score can take; the ends stay between.

    Raises:
        ValueError: on a wrong length, values that are not finite, or counts that sum to zero.
    """
    values, counts = _checked(values, clusters, counts)
    draws = _recording_draws(values.mean(axis=0), clusters, counts, resamples, seed)
    draws += _seed_draws(values, counts, resamples, seed + 1)
    mean = float(values.mean(axis=0).sum() / counts.sum())
    return _ends(mean, draws, level, within)


def paired_interval(
    first: Numbers,
    second: Numbers,
    clusters: Clusters,
    counts: Numbers | None = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Interval of the score of `first` minus that of `second` on the same pairs.

    Both are [n] or [seeds n]; their numbers of seeds may differ, and seeds are independent between
    the two. Otherwise as `interval`.
    """
    first, counts = _checked(first, clusters, counts)
    second, _ = _checked(second, clusters, counts)
    difference = first.mean(axis=0) - second.mean(axis=0)
    draws = _recording_draws(difference, clusters, counts, resamples, seed)
    draws += _seed_draws(first, counts, resamples, seed + 1)
    draws -= _seed_draws(second, counts, resamples, seed + 2)
    return _ends(float(difference.sum() / counts.sum()), draws, level, within)


def smallest_detectable_difference(
    first: Numbers,
    second: Numbers,
    clusters: Clusters,
    counts: Numbers | None = None,
    *,
    seeds: int | None = None,
    level: float = LEVEL,
    power: float = 0.8,
) -> float:
    """The true difference that `paired_interval` tells from none with probability `power`.

    `first` and `second` are a pilot on the same pairs, [n] or [seeds n]. `seeds` is the number of
    runs planned for each arm (the pilot's own when absent). Trials are simulated: each sees its own
    spread between seeds, which sets the width of its interval, and misses the difference by its
    own chance; both are as large as in the pilot, a rough estimate from two or three runs. Raises
    as `interval`, and ValueError for one planned run where the pilot has several.
    """
    first, counts = _checked(first, clusters, counts)
    second, _ = _checked(second, clusters, counts)
    difference = first.mean(axis=0) - second.mean(axis=0)
    widths = np.tile(_recording_draws(difference, clusters, counts, RESAMPLES, 0), (TRIALS, 1))
    chance = _recording_draws(difference, clusters, counts, TRIALS, 1)
    rng = np.random.default_rng(2)
    for values in (first, second):
        if len(values) > 1:
            if (free := (seeds or len(values)) - 1) < 1:
                raise ValueError("one run of an arm has no spread to judge by: plan at least two")
            spread = (values.sum(axis=1) / counts.sum()).std(ddof=1) / np.sqrt(free + 1)
            seen = spread * np.sqrt(rng.chisquare(free, TRIALS) / free)
            widths += seen[:, None] * rng.standard_t(free, RESAMPLES)
            chance += spread * rng.standard_normal(TRIALS)
    halves = np.quantile(widths, (1 + level) / 2, axis=1)
    return float(np.quantile(halves - chance, power))


def _checked(
    values: Numbers,
    clusters: Clusters,
    counts: Numbers | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Values as [seeds n] and counts as [n], both float64."""
    values = np.atleast_2d(np.asarray(values, np.float64))
    counts = np.ones(clusters.pairs) if counts is None else np.asarray(counts, np.float64)
    if values.ndim != 2 or values.shape[1] != clusters.pairs or counts.shape != (clusters.pairs,):
        raise ValueError(
            f"values {values.shape} and counts {counts.shape} do not fit {clusters.pairs} pairs"
        )
    if not (np.isfinite(values).all() and np.isfinite(counts).all()):
        raise ValueError("values and counts must be finite; leave a pair out with a count of 0")
    if not (counts >= 0).all() or counts.sum() == 0:
        raise ValueError("counts must not be negative, nor all zero")
    return values, counts


def _pull(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    total = counts.sum()
    return (values - values.sum() / total * counts) / total


def _recording_draws(
    values: np.ndarray, clusters: Clusters, counts: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """Deviations of the score under resampled recordings, [resamples]."""
    pull = _pull(values, counts)
    n = clusters.recordings
    wanted = clusters.variance(pull, counts)
    by_recording = clusters.sums(pull)[clusters.alone]
    # Multinomial counts have covariance identity - 1/n.
    drawn = float(np.sum(by_recording**2) - np.sum(by_recording) ** 2 / n)
    if wanted <= 0.0:
        return np.zeros(resamples)
    rng = np.random.default_rng(seed)
    freedom = clusters.freedom(counts)
    wider = np.sqrt(freedom / rng.chisquare(freedom, resamples))
    if drawn <= 1e-12 * wanted:  # The pulls cancel within every recording; nothing to scale.
        return rng.standard_normal(resamples) * wider * np.sqrt(wanted)
    draws = (rng.multinomial(n, np.full(n, 1 / n), size=resamples) - 1.0) @ by_recording
    return draws * wider * np.sqrt(wanted / drawn)


def _seed_draws(values: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Deviations of the score under other training seeds, [resamples]; zero for one seed."""
    seeds = len(values)
    if seeds == 1:
        return np.zeros(resamples)
    scores = values.sum(axis=1) / counts.sum()
    spread = scores.std(ddof=1) / np.sqrt(seeds)
    return np.random.default_rng(seed).standard_t(seeds - 1, resamples) * spread


def _ends(mean: float, draws: np.ndarray, level: float, within: tuple[float, float]) -> Interval:
    """Percentile ends around the mean, not beyond those of `within`."""
    low, high = mean + np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, max(within[0], float(low)), min(within[1], float(high)))
