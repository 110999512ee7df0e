"""Stretches of a clip of the length that a model hears: its middle, one at random, or all."""

from collections.abc import Sequence

import numpy as np


def middle(wave: np.ndarray, size: int) -> np.ndarray:
    """The middle `size` samples of `wave` [n]; all of it when it has no more."""
    start = max(0, (len(wave) - size) // 2)
    return wave[start : start + size]


def at_random(wave: np.ndarray, size: int, key: Sequence[int]) -> np.ndarray:
    """`size` samples of `wave` [n] from a start that `key` draws; all of it when it has no more.

    Starts are equally likely among 0 ... n - size - 1, as in ADIFF's published code, so that the
    last sample is never heard. `key` holds integers that are not negative.
    """
    spare = len(wave) - size
    if spare <= 0:
        return wave
    start = int(np.random.PCG64(list(key)).random_raw()) % spare
    return wave[start : start + size]


def tiled(wave: np.ndarray, size: int) -> np.ndarray:
    """`wave` [n] over and over until it has `size` samples; as it is when it has no fewer."""
    return np.resize(wave, size) if len(wave) < size else wave


def windows(wave: np.ndarray, size: int) -> list[np.ndarray]:
    """Stretches of `size` samples that together hold all of `wave` [n], in order.

    One follows the other; the last ends with the wave, and overlaps the one before it where the
    length is no multiple of `size`. A wave that is no longer than `size` is its own only window.
    """
    if len(wave) <= size:
        return [wave]
    last = len(wave) - size
    return [wave[start : start + size] for start in (*range(0, last, size), last)]
