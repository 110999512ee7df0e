"""Procedural sounds: reproducible, audible, and held out by parameter range."""

import numpy as np
import pytest

from adiff_jax.data.synth.generators import BACKGROUNDS, GENERATORS, LABELS, draw_values, generate


@pytest.mark.parametrize("label", LABELS)
def test_no_parameter_of_a_heldout_recording_lies_in_a_training_range(label: str) -> None:
    rng = np.random.default_rng(0)
    train = [draw_values(label, "train", rng) for _ in range(400)]
    heldout = [draw_values(label, "heldout", rng) for _ in range(400)]
    for name, span in GENERATORS[label].spans.items():
        held = [values[name] for values in heldout]
        assert span.low < min(held) < max(held) < span.high
        below = [v[name] for v in train if v[name] < min(held)]
        above = [v[name] for v in train if v[name] > max(held)]
        assert len(below) + len(above) == len(train)
        assert min(len(below), len(above)) > 100


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_recording_is_a_function_of_its_index(label: str, split: str) -> None:
    first = generate(label, split, seed=0, index=1, rate=16_000)
    assert np.array_equal(first, generate(label, split, seed=0, index=1, rate=16_000))
    assert not np.array_equal(first, generate(label, split, seed=0, index=2, rate=16_000))
    assert not np.array_equal(first, generate(label, split, seed=1, index=1, rate=16_000))
    assert first.dtype == np.float32
    assert len(first) == 5 * 16_000
    assert np.abs(first).max() == pytest.approx(0.5)


def spectrum(label: str, split: str, index: int) -> np.ndarray:
    """Share of energy in 24 bands of equal ratio: what a listener tells classes by, roughly."""
    power = np.abs(np.fft.rfft(generate(label, split, 0, index, 16_000))) ** 2
    edges = np.geomspace(20, 40_000, 25).astype(int)
    bands = np.log(np.add.reduceat(power, edges)[:-1] + 1e-6)
    return bands - bands.mean()


def test_every_class_is_nearer_to_itself_than_to_others_across_the_split() -> None:
    """A class centre of training spectra recognises most held-out recordings."""
    centres = {x: np.mean([spectrum(x, "train", i) for i in range(6)], axis=0) for x in LABELS}
    right = 0
    for label in LABELS:
        for index in range(3):
            heard = spectrum(label, "heldout", index)
            right += label == min(LABELS, key=lambda x: np.linalg.norm(centres[x] - heard))
    assert right >= 0.9 * 3 * len(LABELS)


@pytest.mark.parametrize("label", BACKGROUNDS)
def test_backgrounds_never_fall_silent(label: str) -> None:
    for index in range(5):
        frames = generate(label, "train", 0, index, 16_000).reshape(-1, 1600)
        power = np.mean(frames**2, axis=1)
        assert power.min() > 0.02 * power.max()
