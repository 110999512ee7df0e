"""Pooling of SDD: which half goes where, what is shared, the temperature."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.models.sdd import ClipEmbeddings, ClipPooling, Disentanglement
from tests.models.toys import drawn
from tests.quick import quick_jit

RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(RNG.standard_normal((2, 5, 8)), jnp.float32) for _ in range(2))
ALL = jnp.ones((2, 5), bool)
SHORT = jnp.arange(5)[None] < jnp.array([[5], [3]])
DEFAULT = Disentanglement()


def fresh(config: Disentanglement = DEFAULT) -> dict[str, Any]:
    init = partial(ClipPooling(config).init, jax.random.key(0))
    return drawn(jax.eval_shape(init, X, Y, ALL, ALL))


@quick_jit
def pooled(x: jax.Array, y: jax.Array, x_mask: jax.Array, y_mask: jax.Array) -> ClipEmbeddings:
    return ClipPooling(DEFAULT).apply(fresh(), x, y, x_mask, y_mask)


def test_the_first_half_is_similarity_and_the_second_discrepancy() -> None:
    before = pooled(X, Y, ALL, ALL)
    after = pooled(X.at[..., 4:].add(1.0), Y, ALL, ALL)
    np.testing.assert_array_equal(after.similar_1, before.similar_1)
    assert (after.discrepant_1 != before.discrepant_1).all()
    np.testing.assert_array_equal(after.discrepant_2, before.discrepant_2)


def test_embeddings_are_half_as_wide_as_the_frames() -> None:
    for field in ("similar_1", "similar_2", "discrepant_1", "discrepant_2"):
        assert getattr(pooled(X, Y, ALL, ALL), field).shape == (2, 4)


def test_one_network_a_half_shared_by_the_clips() -> None:
    assert set(fresh()["params"]) == {"similar", "discrepant"}
    there, back = pooled(X, Y, ALL, SHORT), pooled(Y, X, SHORT, ALL)
    np.testing.assert_allclose(there.similar_1, back.similar_2, atol=1e-7)
    np.testing.assert_allclose(there.discrepant_2, back.discrepant_1, atol=1e-7)
    assert (there.similar_1 != there.discrepant_1).all()


def test_padding_is_ignored_and_an_empty_clip_pools_to_zero() -> None:
    before, after = (pooled(X, y, ALL, SHORT) for y in (Y, jnp.where(SHORT[..., None], Y, 100.0)))
    np.testing.assert_array_equal(after.similar_2, before.similar_2)
    empty = pooled(X, Y, ALL, SHORT.at[1].set(False))
    assert (empty.similar_2[1] == 0).all() and (empty.discrepant_2[1] == 0).all()


def test_embeddings_of_bfloat16_frames_are_float32() -> None:
    half = X.astype(jnp.bfloat16)
    embeddings = jax.eval_shape(ClipPooling(DEFAULT).apply, fresh(), half, half, ALL, ALL)
    assert {leaf.dtype for leaf in jax.tree.leaves(embeddings)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("asked", [0.01, 1.0])
def test_a_fixed_temperature_is_the_one_that_is_asked_for(asked: float) -> None:
    config = Disentanglement(temperature=asked)
    apply = quick_jit(ClipPooling(config).apply)
    assert apply(fresh(config), X, Y, ALL, ALL).temperature == pytest.approx(asked)


@pytest.mark.parametrize("asked", [0.001, 0.0, -1.0])
def test_a_temperature_below_a_hundredth_is_refused(asked: float) -> None:
    with pytest.raises(ValueError, match="sdd.temperature is .* at least 0.01"):
        Disentanglement(temperature=asked)


def test_a_learnt_temperature_starts_where_it_is_asked_to_and_learns() -> None:
    config = Disentanglement(temperature=0.2, learn_temperature=True)
    pooling = ClipPooling(config)

    @quick_jit
    def start(key: jax.Array) -> jax.Array:
        return pooling.init(key, X, Y, ALL, ALL)["params"]["log_temperature"]

    assert start(jax.random.key(0)) == pytest.approx(np.log(0.2))

    def temperature(logarithm: jax.Array) -> jax.Array:
        params = {**fresh(config)["params"], "log_temperature": logarithm}
        return pooling.apply({"params": params}, X, Y, ALL, ALL).temperature

    gradient = quick_jit(jax.value_and_grad(temperature))
    assert gradient(jnp.log(0.2)) == (pytest.approx(0.2), pytest.approx(0.2))
    # Below the bound it is the bound that is in force; a gradient of zero there would hold the
    # parameter for ever, so that of no bound is passed on.
    assert gradient(jnp.log(0.005)) == (pytest.approx(0.01), pytest.approx(0.01))
