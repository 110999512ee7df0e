"""Cnn10: sizes, masks, padding, augmentation; its values: tests/parity/test_cnn10."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.arrays import Batch
from adiff_jax.audio.augment import SpecAugment
from adiff_jax.models.cnn10 import Cnn10, Cnn10Encoder, average_pool
from adiff_jax.models.features import Augment
from adiff_jax.models.tagger import Tagger, TaggerModel
from tests.models.toys import drawn
from tests.quick import quick_jit

MELS, FRAMES = 16, 53
SMALL = Cnn10(filters=(8, 8, 8, 8), dropout=0.0, head_dropout=0.0)
DECIBELS = (np.random.default_rng(0).standard_normal((2, FRAMES, MELS)) * 20 - 30).astype("float32")


def shapes(config: Cnn10, mels: int = MELS) -> dict[str, Any]:
    features = jax.ShapeDtypeStruct((2, FRAMES, mels), jnp.float32)
    lengths = jax.ShapeDtypeStruct((2,), jnp.int32)
    init = partial(Cnn10Encoder(config).init, jax.random.key(0))
    return jax.eval_shape(init, features, lengths)


@cache
def fresh() -> dict[str, Any]:
    return drawn(shapes(SMALL))


@cache
def encoder() -> Any:
    return quick_jit(partial(Cnn10Encoder(SMALL).apply, fresh()))


def padded(frames: int, size: int, filling: float) -> jax.Array:
    blank = np.full((2, size, MELS), filling, np.float32)
    blank[:, :frames] = DECIBELS[:, :frames]
    return jnp.asarray(blank)


def lengths(frames: int) -> jax.Array:
    return jnp.full((2,), frames, jnp.int32)


def test_published_number_of_parameters() -> None:
    """6,302,735 less the frontend's constants, which are computed here; with the head."""
    tagger = TaggerModel(Tagger(encoder=Cnn10(), classes=527))
    batch = Batch(
        valid=jnp.ones(1, bool),
        example_id=jnp.zeros(1, jnp.int32),
        audio_1=jax.ShapeDtypeStruct((1, 32000), jnp.float32),
        length_1=jax.ShapeDtypeStruct((1,), jnp.int32),
    )
    params = jax.eval_shape(partial(tagger.init, jax.random.key(0)), batch)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 6_302_735 - 1_083_456


def test_average_pool_drops_odd_edges() -> None:
    x = jnp.arange(5 * 7, dtype=jnp.float32).reshape(1, 5, 7, 1)
    np.testing.assert_array_equal(average_pool(x)[0, :, :, 0], [[4, 6, 8], [18, 20, 22]])


def test_what_stands_in_the_padding_changes_nothing_at_any_length() -> None:
    every = np.arange(1, FRAMES + 1)
    inside = (np.arange(FRAMES) < every[:, None])[:, :, None]
    loud, silent = (
        encoder()(jnp.asarray(np.where(inside, DECIBELS[:1], filling)), jnp.asarray(every))
        for filling in (np.float32(60), np.float32(-100))
    )
    mask = np.asarray(loud[1])
    np.testing.assert_array_equal(mask.sum(axis=1), np.maximum(every // Cnn10.stride, 1))
    assert np.abs(loud[0]).max() > 0.1
    np.testing.assert_allclose(loud[0][mask], silent[0][mask], atol=1e-4)


@pytest.mark.parametrize("frames", [16, 37, 48])
def test_a_padded_clip_has_the_frames_of_the_unpadded_one(frames: int) -> None:
    count = frames // Cnn10.stride
    whole, mask = encoder()(padded(frames, frames, 0), lengths(frames))
    assert mask.all() and whole.shape == (2, count, SMALL.embedding_width)
    longer, mask = encoder()(padded(frames, FRAMES, 50.0), lengths(frames))
    np.testing.assert_array_equal(mask[0], np.arange(mask.shape[1]) < count)
    np.testing.assert_allclose(longer[:, :count], whole, atol=1e-4)


def test_an_empty_clip_has_no_frame_and_no_nan() -> None:
    frames, mask = encoder()(padded(0, FRAMES, 9.0), lengths(0))
    assert not mask.any() and np.isfinite(frames).all()


def test_batch_statistics_of_training_are_per_mel_bin_over_valid_frames() -> None:
    train = quick_jit(
        lambda x, n: Cnn10Encoder(SMALL).apply(fresh(), x, n, True, mutable=["batch_stats"])
    )
    (_, updated), (_, same) = (train(padded(32, size, 60.0), lengths(32)) for size in (32, FRAMES))
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, updated["batch_stats"], same["batch_stats"])
    before = np.asarray(fresh()["batch_stats"]["norm_0"]["mean"])
    expected = 0.9 * before + 0.1 * DECIBELS[:, :32].mean(axis=(0, 1))
    np.testing.assert_allclose(updated["batch_stats"]["norm_0"]["mean"], expected, rtol=1e-4)


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    frozen = Cnn10Encoder(replace(SMALL, freeze_batch_norm=True))
    (frames, _), updated = quick_jit(
        lambda x, n: frozen.apply(fresh(), x, n, True, mutable=["batch_stats"])
    )(DECIBELS, lengths(FRAMES))
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], fresh()["batch_stats"])
    np.testing.assert_allclose(frames, encoder()(DECIBELS, lengths(FRAMES))[0], atol=1e-4)


def test_stripes_are_masked_after_the_batch_norm_and_only_given_a_key() -> None:
    """With everything masked the clip is as one whose every bin is at its running mean."""
    whole = SpecAugment(time_stripes=64, time_width=2 * FRAMES, mel_stripes=0)
    config = replace(SMALL, augment=whole)
    variables = drawn(shapes(config))
    statistics = variables["batch_stats"]["norm_0"]
    norm = variables["params"]["norm_0"]
    # where the norm's output is zero
    level = statistics["mean"] - norm["bias"] / norm["scale"] * jnp.sqrt(statistics["var"] + 1e-5)
    apply = quick_jit(partial(Cnn10Encoder(config).apply, variables))
    silent = jnp.broadcast_to(level, DECIBELS.shape)
    masked, _ = apply(DECIBELS, lengths(FRAMES), key=jax.random.key(3))
    expected, _ = apply(silent, lengths(FRAMES))
    plain, _ = apply(DECIBELS, lengths(FRAMES))
    np.testing.assert_allclose(masked, expected, atol=1e-4)
    assert np.abs(masked - plain).max() > 0.1


def test_a_tagger_refuses_stripes_that_it_would_not_make() -> None:
    with pytest.raises(ValueError, match=r"no effect on Cnn10.*encoder\.augment"):
        Tagger(encoder=Cnn10(), augment=Augment(spec=SpecAugment(time_stripes=9)))


def test_other_numbers_of_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="each of 4 blocks"):
        Cnn10(filters=(8, 8))
