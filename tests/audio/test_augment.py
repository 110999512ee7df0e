"""Augmentation is a pure function of its key, row by row, the same on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.audio.augment import SpecAugment, spec_augment, time_shift
from tests.lowered import collectives

CONFIG = SpecAugment(time_stripes=2, time_width=6, mel_stripes=1, mel_width=4)
ROWS, FRAMES, MELS = 64, 40, 16
ONES = jnp.ones((ROWS, FRAMES, MELS))
RAMP = jnp.tile(jnp.arange(1.0, 51.0), (ROWS, 1))
WHOLE = jnp.full((ROWS,), 50)


augmented = jax.jit(spec_augment, static_argnums=1)


def zeroed(key: int, config: SpecAugment = CONFIG) -> tuple[np.ndarray, np.ndarray]:
    """Whole frames and whole bands that are zero: [rows frames], [rows mels]."""
    result = np.asarray(augmented(jax.random.key(key), config, ONES))
    assert set(np.unique(result)) <= {0.0, 1.0}
    frames, mels = ~result.any(axis=2), ~result.any(axis=1)
    np.testing.assert_array_equal(result == 0, frames[:, :, None] | mels[:, None, :])
    return frames, mels


def runs(mask: np.ndarray) -> int:
    """Number of separate stripes in a row."""
    return int(np.sum(np.diff(np.r_[0, mask.astype(int)]) == 1))


def test_stripes_are_whole_and_bounded_in_number_and_width() -> None:
    for key in range(4):
        frames, mels = zeroed(key)
        assert max(map(runs, frames)) == 2 and frames.sum(axis=1).max() <= 2 * 5
        assert max(map(runs, mels)) == 1 and mels.sum(axis=1).max() <= 3


def test_widths_are_uniform_from_zero_to_one_below_the_limit() -> None:
    config = SpecAugment(time_stripes=0, mel_stripes=1, mel_width=4)
    widths = np.concatenate([zeroed(key, config)[1].sum(axis=1) for key in range(16)])
    counts = np.bincount(widths, minlength=4)
    assert len(counts) == 4
    assert (np.abs(counts / len(widths) - 0.25) < 0.05).all()


def test_stripes_reach_both_ends() -> None:
    config = SpecAugment(time_stripes=0, mel_stripes=1, mel_width=4)
    touched = np.any([zeroed(key, config)[1].any(axis=0) for key in range(16)], axis=0)
    assert touched.all()


def test_a_stripe_is_narrower_than_the_picture_however_wide_it_may_be() -> None:
    config = SpecAugment(time_stripes=1, time_width=1000, mel_stripes=0)
    frames, _ = zeroed(0, config)
    assert frames.any() and not frames.all(axis=1).any()


def test_zero_widths_switch_it_off() -> None:
    config = SpecAugment(time_stripes=2, time_width=0, mel_stripes=2, mel_width=0)
    np.testing.assert_array_equal(augmented(jax.random.key(0), config, ONES), ONES)


def test_the_key_decides() -> None:
    np.testing.assert_array_equal(zeroed(3)[0], zeroed(3)[0])
    assert (zeroed(3)[0] != zeroed(4)[0]).any()


def test_rows_draw_their_own() -> None:
    frames, mels = zeroed(0)
    assert len({row.tobytes() for row in frames}) > ROWS // 2
    assert len({row.tobytes() for row in mels}) > ROWS // 4
    shifted = np.asarray(time_shift(jax.random.key(0), 20, RAMP, WHOLE))
    assert len({row.tobytes() for row in shifted}) > ROWS // 4


def test_one_key_masks_and_shifts_both_clips_alike() -> None:
    key = jax.random.key(5)
    other = jax.random.uniform(jax.random.key(0), ONES.shape, minval=1.0, maxval=2.0)
    first = augmented(key, CONFIG, ONES) == 0
    second = augmented(key, CONFIG, other) == 0
    np.testing.assert_array_equal(first, second)
    shifted = (time_shift(key, 20, ramp, WHOLE) for ramp in (RAMP, RAMP * 2))
    np.testing.assert_array_equal(next(shifted) * 2, next(shifted))


def test_a_shift_is_a_rotation_within_its_bound_in_both_directions() -> None:
    shifts = []
    for row in np.concatenate([time_shift(jax.random.key(k), 3, RAMP, WHOLE) for k in range(4)]):
        shift = int(np.flatnonzero(row == 1.0)[0])
        np.testing.assert_array_equal(row, np.roll(RAMP[0], shift))
        shifts.append((shift + 25) % 50 - 25)
    assert set(shifts) == {-3, -2, -1, 0, 1, 2, 3}


def test_a_padded_clip_is_rotated_within_its_own_samples() -> None:
    lengths = jnp.arange(ROWS) % 51
    shifted = np.asarray(time_shift(jax.random.key(2), 70, RAMP, lengths))
    whole = np.asarray(time_shift(jax.random.key(2), 70, RAMP, WHOLE))
    moved = 0
    for row, length, unpadded in zip(shifted, lengths.tolist(), whole, strict=True):
        clip = np.arange(1.0, length + 1)
        rotations = [np.roll(clip, by) for by in range(max(length, 1))]
        assert any(np.array_equal(row[:length], rotation) for rotation in rotations)
        assert (row[length:] == 0).all()
        moved += not np.array_equal(row[:length], clip)
        if length == 50:
            np.testing.assert_array_equal(row, unpadded)
    assert moved > ROWS // 2


@pytest.mark.parametrize("what", ["spec_augment", "time_shift"])
def test_any_sharding_gives_the_same_and_no_row_travels(what: str) -> None:
    def augment(key: jax.Array, x: jax.Array) -> jax.Array:
        if what == "spec_augment":
            return spec_augment(key, CONFIG, x)
        return time_shift(key, 20, x, jnp.full(x.shape[0], 40))

    x, key = (ONES if what == "spec_augment" else RAMP), jax.random.key(11)
    alone = np.asarray(jax.jit(augment)(key, x))
    for shape in ((8, 1), (4, 2)):
        mesh = jax.make_mesh(
            shape, ("data", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2
        )
        by_row = NamedSharding(mesh, PartitionSpec("data"))
        spread = jax.jit(augment, in_shardings=(None, by_row), out_shardings=by_row)
        compiled = spread.lower(key, x).compile()
        assert not collectives(compiled.as_text())
        np.testing.assert_array_equal(spread(key, x), alone)
