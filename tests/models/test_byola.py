"""The encoders of the BYOL-A family: sizes, masks, padding; values: tests/parity/test_byola."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.models.build import Encoder, build_encoder
from adiff_jax.models.byola import ByolA, ByolA2, StridedByolA, max_pool
from tests.models.toys import drawn
from tests.quick import quick_jit

MELS = 64
FRAMES = 29
ENCODERS = {
    "version 1": ByolA(width=8, dropout=0.0),
    "version 2": ByolA2(hidden=8, dropout=0.0),
    "strided": StridedByolA(width=8, filters=(4, 4, 8), dropout=0.0),
}
every_encoder = pytest.mark.parametrize("config", ENCODERS.values(), ids=ENCODERS)
FEATURES = np.random.default_rng(0).standard_normal((2, FRAMES, MELS, 1)).astype(np.float32)


def shapes(config: Encoder, channels: int = 1) -> dict[str, Any]:
    module = build_encoder(config, jnp.float32)
    features = jax.ShapeDtypeStruct((2, FRAMES, MELS, channels), jnp.float32)
    lengths = jax.ShapeDtypeStruct((2,), jnp.int32)
    return jax.eval_shape(partial(module.init, jax.random.key(0)), features, lengths)


@cache
def fresh(config: Encoder) -> dict[str, Any]:
    return drawn(shapes(config))


@cache
def encoder(config: Encoder) -> Any:
    return quick_jit(partial(build_encoder(config, jnp.float32).apply, fresh(config)))


def padded(frames: int, size: int, filling: float) -> jax.Array:
    """The first `frames` of the features, then `filling`, `size` frames in all."""
    blank = np.full((2, size, MELS, 1), filling, np.float32)
    blank[:, :frames] = FEATURES[:, :frames]
    return jnp.asarray(blank)


def lengths(frames: int) -> jax.Array:
    return jnp.full((2,), frames, jnp.int32)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(ByolA(width=512), 600_192), (ByolA(width=2048), 5_321_856), (ByolA2(), 6_333_376)],
)
def test_published_numbers_of_parameters(config: Encoder, parameters: int) -> None:
    """Trained parameters, the running statistics of the batch norms not among them."""
    leaves = jax.tree.leaves(shapes(config)["params"])
    assert sum(leaf.size for leaf in leaves) == parameters


@pytest.mark.parametrize("channels", [1, 2])
@every_encoder
def test_the_output_is_as_the_configuration_says(config: Encoder, channels: int) -> None:
    config = replace(config, channels=channels)
    variables = shapes(config, channels)
    features = jax.ShapeDtypeStruct((2, 101, MELS, channels), jnp.float32)
    module = build_encoder(config, jnp.float32)
    frames, mask = jax.eval_shape(module.apply, variables, features, lengths(101))
    width = 64 * (MELS // config.stride) + 8 if isinstance(config, ByolA2) else 8
    assert frames.shape == (2, 101 // config.stride, width)
    assert mask.shape == frames.shape[:2]


def test_ten_seconds_are_125_frames_of_80_ms() -> None:
    assert ByolA().frontend.frames(160_000) // ByolA.stride == 125
    for config in (ByolA(), StridedByolA()):
        seconds = config.frontend.frame_seconds * config.stride
        assert seconds == pytest.approx(0.08 if isinstance(config, ByolA) else 0.16)


def test_max_pool_drops_odd_edges() -> None:
    x = jnp.arange(5 * 7, dtype=jnp.float32).reshape(1, 5, 7, 1)
    np.testing.assert_array_equal(max_pool(x)[0, :, :, 0], [[8, 10, 12], [22, 24, 26]])
    np.testing.assert_array_equal(max_pool(-x)[0, :, :, 0], [[0, -2, -4], [-14, -16, -18]])


@every_encoder
def test_what_stands_in_the_padding_changes_nothing_at_any_length(config: Encoder) -> None:
    """One clip a length; one shorter than an output frame has one such frame nevertheless."""
    every = np.arange(1, FRAMES + 1)
    inside = (np.arange(FRAMES) < every[:, None])[:, :, None, None]
    negative, positive = (
        encoder(config)(jnp.asarray(np.where(inside, FEATURES[:1], filling)), jnp.asarray(every))
        for filling in (np.float32(-50), np.float32(50))
    )
    mask = np.asarray(positive[1])
    np.testing.assert_array_equal(mask.sum(axis=1), np.maximum(every // config.stride, 1))
    np.testing.assert_allclose(
        np.asarray(positive[0])[mask], np.asarray(negative[0])[mask], atol=1e-5
    )


@every_encoder
def test_a_clip_shorter_than_an_output_frame_is_heard(config: Encoder) -> None:
    every = np.arange(1, config.stride)
    inside = (np.arange(FRAMES) < every[:, None])[:, :, None, None]
    one, other = (
        np.asarray(encoder(config)(jnp.asarray(np.where(inside, x, 0)), jnp.asarray(every))[0])
        for x in (FEATURES[:1], 2 * FEATURES[:1])
    )
    assert (np.abs(one - other)[:, 0].max(axis=-1) > 1e-3).all()


@pytest.mark.parametrize("frames", [8, 13, 22])
@every_encoder
def test_a_padded_clip_has_the_frames_of_the_unpadded_one(config: Encoder, frames: int) -> None:
    count = frames // config.stride
    whole, mask = encoder(config)(padded(frames, frames, 0), lengths(frames))
    assert mask.all() and whole.shape[1] == count
    longer, mask = encoder(config)(padded(frames, FRAMES, 50.0), lengths(frames))
    np.testing.assert_array_equal(mask[0], np.arange(mask.shape[1]) < count)
    np.testing.assert_allclose(longer[:, :count], whole, atol=1e-5)


@every_encoder
def test_an_empty_clip_has_no_frame_and_no_nan(config: Encoder) -> None:
    frames, mask = encoder(config)(padded(0, FRAMES, 9.0), lengths(0))
    assert not mask.any()
    assert np.isfinite(frames).all()


@every_encoder
def test_batch_statistics_of_training_are_over_valid_frames(config: Encoder) -> None:
    module = build_encoder(config, jnp.float32)

    @quick_jit
    def train(features: jax.Array, frames: jax.Array) -> tuple[jax.Array, Any]:
        (output, _), updated = module.apply(
            fresh(config), features, frames, True, mutable=["batch_stats"]
        )
        return output, updated["batch_stats"]

    frames = 24
    output, statistics = train(padded(frames, frames, 0), lengths(frames))
    longer, same = train(padded(frames, FRAMES, 50.0), lengths(frames))
    count = frames // config.stride
    np.testing.assert_allclose(longer[:, :count], output, atol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), same, statistics)
    first = fresh(config)["batch_stats"]["norm_1"]["mean"]
    assert (statistics["norm_1"]["mean"] != first).all()


def test_the_running_mean_moves_by_a_tenth() -> None:
    config = ENCODERS["version 1"]
    variables = fresh(config)
    conv = variables["params"]["conv_1"]
    expected = np.asarray(
        jax.lax.conv_general_dilated(
            jnp.asarray(FEATURES),
            conv["kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        + conv["bias"]
    ).mean(axis=(0, 1, 2))
    apply = partial(build_encoder(config, jnp.float32).apply, mutable=["batch_stats"])
    _, updated = quick_jit(apply, static_argnums=3)(
        variables, jnp.asarray(FEATURES), lengths(FRAMES), True
    )
    before = np.asarray(variables["batch_stats"]["norm_1"]["mean"])
    after = updated["batch_stats"]["norm_1"]["mean"]
    np.testing.assert_allclose(after, 0.9 * before + 0.1 * expected, atol=1e-5)


@every_encoder
def test_frozen_batch_norm_keeps_its_statistics_and_trains_as_it_evaluates(config: Encoder) -> None:
    frozen = replace(config, freeze_batch_norm=True)
    apply = partial(build_encoder(frozen, jnp.float32).apply, mutable=["batch_stats"])
    (output, _), updated = quick_jit(apply, static_argnums=3)(
        fresh(config), jnp.asarray(FEATURES), lengths(FRAMES), True
    )
    jax.tree.map(
        np.testing.assert_array_equal, updated["batch_stats"], fresh(config)["batch_stats"]
    )
    np.testing.assert_allclose(output, encoder(config)(FEATURES, lengths(FRAMES))[0], atol=1e-5)
