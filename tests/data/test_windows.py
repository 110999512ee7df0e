"""Stretches of a clip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adiff_jax.data.windows import at_random, middle, tiled, windows


@given(st.integers(1, 200), st.integers(1, 50))
def test_windows_hold_the_whole_clip_in_order(length: int, size: int) -> None:
    wave = np.arange(length)
    found = windows(wave, size)
    assert {len(window) for window in found} == {min(size, length)}
    starts = [int(window[0]) for window in found]
    assert starts == sorted(set(starts)) and starts[0] == 0 and found[-1][-1] == length - 1
    assert np.diff(starts).max(initial=0) <= size
    assert len(found) == max(1, -(-length // size))
    assert all((np.diff(window) == 1).all() for window in found)


def test_a_window_of_equal_size_is_the_clip_and_the_last_one_ends_with_it() -> None:
    wave = np.arange(8)
    assert [w.tolist() for w in windows(wave, 8)] == [wave.tolist()]
    assert [w.tolist() for w in windows(wave, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [w.tolist() for w in windows(wave, 3)] == [[0, 1, 2], [3, 4, 5], [5, 6, 7]]


def test_random_starts_are_drawn_evenly_and_never_reach_the_last_sample() -> None:
    wave = np.arange(20)
    starts = [int(at_random(wave, 10, (0, number))[0]) for number in range(3000)]
    counts = np.bincount(starts)
    assert len(counts) == 10  # 0 ... 20 - 10 - 1
    assert counts.min() > 220 and counts.max() < 390
    assert starts == [int(at_random(wave, 10, (0, number))[0]) for number in range(3000)]


@pytest.mark.parametrize("size", [20, 21])
def test_a_clip_without_spare_samples_is_not_cropped(size: int) -> None:
    wave = np.arange(20)
    assert at_random(wave, size, (1,)) is wave
    np.testing.assert_array_equal(middle(wave, size), wave)


def test_a_clip_is_repeated_whole_and_cut_at_the_end() -> None:
    assert tiled(np.arange(3), 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert tiled(np.arange(3), 3).tolist() == tiled(np.arange(3), 2).tolist() == [0, 1, 2]
