"""The CAC mask inside the difference encoder; its layers' values: tests/parity/test_cac."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.models.cac import DifferenceEncoder, DifferenceTransformer, cac_mask, split_clips
from tests.models.toys import drawn
from tests.quick import quick_jit

CONFIG = DifferenceEncoder(width=8, heads=2, hidden=12, dropout=0.0)
RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(RNG.standard_normal((2, 4, 8)), jnp.float32) for _ in range(2))
ALL = jnp.ones((2, 4), bool)
FIRST_THREE = jnp.arange(4)[None] < jnp.array([[4], [3]])


@cache
def fresh(config: DifferenceEncoder) -> dict[str, Any]:
    module = DifferenceTransformer(config)
    return drawn(jax.eval_shape(partial(module.init, jax.random.key(0)), X, Y, ALL, ALL))


def compared(
    config: DifferenceEncoder, x: jax.Array, y: jax.Array, x_mask: jax.Array, y_mask: jax.Array
) -> jax.Array:
    return DifferenceTransformer(config).apply(fresh(config), x, y, x_mask, y_mask)


def weights_of(config: DifferenceEncoder, y_mask: jax.Array) -> np.ndarray:
    """Attention of the first layer [b h s s]."""
    apply = partial(DifferenceTransformer(config).apply, mutable=["intermediates"])
    _, state = quick_jit(apply)(fresh(config), X, Y, ALL, y_mask)
    (weights,) = state["intermediates"]["blocks_0"]["attention"]["weights"]
    return np.asarray(weights)


def test_a_mask_may_be_shared_by_a_batch_or_be_one_of_a_batch() -> None:
    clip = jnp.array([0, 0, 1])
    valid = jnp.array([[True, True, True], [True, False, True]])
    masks = cac_mask(clip[None], valid)
    for row in range(2):
        np.testing.assert_array_equal(masks[row], cac_mask(clip, valid[row]))


def test_attention_is_spent_on_valid_frames_of_the_other_clip_alone() -> None:
    weights = weights_of(CONFIG, FIRST_THREE)
    assert (weights[:, :, :4, :4] == 0).all() and (weights[:, :, 4:, 4:] == 0).all()
    assert (weights[1, :, :4, 7] == 0).all() and (weights[0, :, :4, 7] > 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)  # padded queries as well


def test_without_the_mask_attention_is_spent_on_every_valid_frame() -> None:
    weights = weights_of(replace(CONFIG, mask="none"), FIRST_THREE)
    assert (weights[0] > 0).all()
    assert (weights[1, :, :, :7] > 0).all() and (weights[1, :, :, 7] == 0).all()


def test_a_frame_hears_of_its_own_clip_only_through_a_second_layer() -> None:
    def reach(config: DifferenceEncoder) -> np.ndarray:
        """Which frames of the first clip the output at each of its frames depends on [f f]."""
        z = partial(compared, config, y=Y, x_mask=ALL, y_mask=ALL)
        jacobian = quick_jit(jax.jacrev(lambda x: split_clips(z(x), 4)[0].std(axis=-1)[0]))(X)
        return np.abs(jacobian[:, 0]).max(axis=-1) > 0

    np.testing.assert_array_equal(reach(CONFIG), np.eye(4, dtype=bool))
    assert reach(replace(CONFIG, layers=2)).all()
    assert reach(replace(CONFIG, mask="none")).all()


@pytest.mark.parametrize("mask", ["cac", "none"])
def test_padded_frames_change_nothing(mask: str) -> None:
    config = replace(CONFIG, mask=mask, layers=2)
    z = quick_jit(partial(compared, config))
    rubbish = jnp.where(FIRST_THREE[..., None], Y, 1e3)
    np.testing.assert_allclose(
        z(X, rubbish, ALL, FIRST_THREE)[:, :7], z(X, Y, ALL, FIRST_THREE)[:, :7], atol=1e-5
    )


def test_an_empty_clip_gives_no_nan() -> None:
    nothing = jnp.zeros((2, 4), bool)
    z = quick_jit(partial(compared, CONFIG))
    for masks in ((ALL, nothing), (nothing, ALL), (nothing, nothing)):
        assert np.isfinite(z(X, Y, *masks)).all()


def test_swapping_the_clips_only_reorders_z_unless_something_tells_them_apart() -> None:
    def difference(config: DifferenceEncoder) -> float:
        z = quick_jit(partial(compared, config))
        x, y = split_clips(z(X, Y, ALL, ALL), 4)
        y_first, x_second = split_clips(z(Y, X, ALL, ALL), 4)
        return max(float(jnp.abs(x - x_second).max()), float(jnp.abs(y - y_first).max()))

    bare = replace(CONFIG, segments=False)
    assert difference(bare) < 1e-6
    assert difference(CONFIG) > 1e-2
    assert difference(replace(bare, positions="global")) > 1e-2


def test_leaving_segments_out_of_one_call_equals_having_none() -> None:
    bare = replace(CONFIG, segments=False)
    params = {k: v for k, v in fresh(CONFIG)["params"].items() if k != "segment"}
    without = DifferenceTransformer(bare).apply({"params": params}, X, Y, ALL, ALL)
    left_out = DifferenceTransformer(CONFIG).apply(fresh(CONFIG), X, Y, ALL, ALL, segments=False)
    np.testing.assert_array_equal(left_out, without)
    assert "segment" not in fresh(bare)["params"]


def test_the_paper_sized_encoder_builds() -> None:
    config = DifferenceEncoder(width=768, heads=4, hidden=512)
    frames = jax.ShapeDtypeStruct((2, 125, 768), jnp.float32)
    mask = jax.ShapeDtypeStruct((2, 125), jnp.bool_)
    init = partial(DifferenceTransformer(config).init, jax.random.key(0))
    params = jax.eval_shape(init, frames, frames, mask, mask)["params"]
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 512 + 512 + 768 + 4 * 768
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == layer + 2 * 768
