"""Attention against its definition, and what masks promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.nn.attention import MultiHeadAttention, attention_weights
from tests.quick import quick_jit

RNG = np.random.default_rng(0)
QUERIES = jnp.asarray(RNG.standard_normal((2, 3, 2, 4)), jnp.float32)
KEYS = jnp.asarray(RNG.standard_normal((2, 5, 2, 4)), jnp.float32)


def test_weights_are_the_softmax_of_scaled_products_over_the_allowed_keys() -> None:
    mask = RNG.random((2, 1, 3, 5)) < 0.6
    mask[..., 0] = True
    weights = quick_jit(attention_weights)(QUERIES, KEYS, jnp.asarray(mask))
    for row, head, query in np.ndindex(2, 2, 3):
        allowed = mask[row, 0, query]
        scores = np.asarray(KEYS)[row, allowed, head] @ np.asarray(QUERIES)[row, query, head] / 2.0
        expected = np.zeros(5)
        expected[allowed] = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(weights[row, head, query], expected, atol=1e-6)


def test_a_query_that_may_attend_nowhere_gets_zero_weights_and_no_nan_gradient() -> None:
    mask = jnp.ones((2, 1, 3, 5), bool).at[1, :, 2].set(False)

    def total(queries: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        weights = attention_weights(queries, keys, mask)
        return (weights**2).sum(), weights

    gradients, weights = quick_jit(jax.grad(total, argnums=(0, 1), has_aux=True))(QUERIES, KEYS)
    assert (weights[1, :, 2] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1)[0], 1.0, rtol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert (gradients[0][1, 2] == 0).all()


def test_the_softmax_of_bfloat16_runs_in_float32() -> None:
    mask = jnp.ones((1, 1, 1, 5), bool)
    weights = jax.eval_shape(
        attention_weights, QUERIES.astype(jnp.bfloat16), KEYS.astype(jnp.bfloat16), mask
    )
    assert weights.dtype == jnp.float32


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 10 is not divisible by heads 4"):
        x = jnp.zeros((1, 2, 10))
        MultiHeadAttention(10, 4).init(jax.random.key(0), x, x, jnp.ones((1, 1, 2, 2), bool))
