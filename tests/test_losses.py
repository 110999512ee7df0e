"""Loss terms: their definitions, masks and edges; SDD's values: tests/parity/test_sdd."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from adiff_jax import losses
from tests.lowered import products
from tests.quick import quick_jit

RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(RNG.standard_normal((6, 8)), jnp.float32) for _ in range(2))
LOGITS = jnp.asarray(3 * RNG.standard_normal((3, 4, 5)), jnp.float32)
TOKENS = jnp.asarray(RNG.integers(0, 5, (3, 4)), jnp.int32)
MASK = jnp.arange(4)[None] < jnp.array([[4], [2], [0]])
ALL = jnp.ones(6, bool)
DISTINCT = jnp.arange(6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_token_cross_entropy_is_the_mean_over_unmasked_tokens(smoothing: float) -> None:
    loss = quick_jit(partial(losses.token_cross_entropy, smoothing=smoothing))
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(np.asarray(LOGITS)[np.asarray(MASK)], dtype=torch.float64),
        torch.tensor(np.asarray(TOKENS)[np.asarray(MASK)], dtype=torch.int64),
        label_smoothing=smoothing,
    )
    total, weight = loss(LOGITS, TOKENS, MASK)
    assert weight == 6
    np.testing.assert_allclose(total / weight, expected, rtol=1e-6)


def test_masked_tokens_change_neither_loss_nor_accuracy_and_get_no_gradient() -> None:
    other = jnp.where(MASK[..., None], LOGITS, 50.0)
    for loss in (losses.token_cross_entropy, losses.token_accuracy):
        assert loss(LOGITS, TOKENS, MASK) == loss(other, (TOKENS + 1 - MASK) % 5, MASK)
    gradient = quick_jit(jax.grad(lambda x: losses.token_cross_entropy(x, TOKENS, MASK)[0]))(LOGITS)
    assert (np.asarray(gradient)[~np.asarray(MASK)] == 0).all()
    assert (np.asarray(gradient)[np.asarray(MASK)] != 0).all()


def test_terms_add_up_over_any_split_of_the_rows() -> None:
    whole = losses.token_cross_entropy(LOGITS, TOKENS, MASK)
    parts = [
        losses.token_cross_entropy(LOGITS[r], TOKENS[r], MASK[r]) for r in (np.s_[:1], np.s_[1:])
    ]
    np.testing.assert_allclose(np.sum(parts, axis=0), whole, rtol=1e-6)


def test_terms_are_float32_from_bfloat16_logits() -> None:
    term = losses.token_cross_entropy(LOGITS.astype(jnp.bfloat16), TOKENS, MASK)
    assert {leaf.dtype for leaf in term} == {jnp.dtype("float32")}


def test_token_accuracy_counts_hits() -> None:
    logits = jax.nn.one_hot(TOKENS, 5).at[0, 0].set(0.0).at[0, 0, (TOKENS[0, 0] + 1) % 5].set(1.0)
    assert losses.token_accuracy(logits, TOKENS, MASK) == (5, 6)


def test_similarities_are_taken_at_highest_precision() -> None:
    lowered = jax.jit(lambda x, y: losses.similarity_matrix(x, y, 0.07)).lower(X, Y)
    (product,) = products(lowered)
    assert product.highest and product.type == "f32" and product.shape == (6, 6)


def test_rows_of_the_same_scene_are_no_negatives_of_each_other() -> None:
    scene = jnp.array([1, 2, 1, 3, 4, 5])
    valid = ALL.at[5].set(False)
    allowed = np.asarray(losses.negatives(scene, valid))
    for i, j in np.ndindex(6, 6):
        assert allowed[i, j] == (i == j or (scene[i] != scene[j] and i != 5 and j != 5))


@quick_jit
def similarity(x: jax.Array, y: jax.Array, scene: jax.Array, valid: jax.Array) -> tuple:
    return losses.sym_info_nce(x, y, 0.07, losses.negatives(scene, valid), valid)


def sum_of_similarity(x: jax.Array, valid: jax.Array) -> jax.Array:
    return losses.sym_info_nce(x, Y, 0.07, losses.negatives(DISTINCT, valid), valid)[0]


def test_a_row_of_the_same_scene_has_no_part_in_the_similarity_loss_of_another() -> None:
    rest = np.array([0, 1, 2, 4, 5])
    scene = DISTINCT.at[3].set(0)  # row 3 repeats row 0
    x, y = X.at[3].set(X[0]), Y.at[3].set(Y[0])

    def of_row_0(x: jax.Array, y: jax.Array, scene: jax.Array) -> jax.Array:
        allowed = losses.negatives(scene, jnp.ones(len(scene), bool))
        return losses.sym_info_nce(x, y, 0.07, allowed, jnp.arange(len(scene)) == 0)[0]

    run = quick_jit(jax.value_and_grad(of_row_0, argnums=1))
    without, _ = run(x[rest], y[rest], DISTINCT[rest])
    loss, gradient = run(x, y, scene)
    np.testing.assert_allclose(loss, without, rtol=1e-6)
    assert run(x, y, DISTINCT)[0] > without
    assert (gradient[3] == 0).all() and (gradient[0] != 0).any()


def test_invalid_rows_change_nothing_and_get_no_gradient() -> None:
    valid = ALL.at[4:].set(False)
    kept = similarity(X[:4], Y[:4], DISTINCT[:4], ALL[:4])
    np.testing.assert_allclose(similarity(X, Y, DISTINCT, valid), kept, rtol=1e-6)
    gradient = quick_jit(jax.grad(sum_of_similarity))(X, valid)
    assert (gradient[4:] == 0).all() and (gradient[:4] != 0).any()
    right = losses.retrieval_accuracy(X, Y, losses.negatives(DISTINCT, valid), valid)
    assert right == losses.retrieval_accuracy(
        X[:4], Y[:4], losses.negatives(DISTINCT[:4], ALL[:4]), ALL[:4]
    )


def test_a_batch_with_one_valid_row_has_no_similarity_loss() -> None:
    total, weight = similarity(X, Y, DISTINCT, ALL.at[1:].set(False))
    assert total == 0 and weight == 1


def test_retrieval_accuracy_counts_rows_whose_best_match_is_their_own() -> None:
    allowed = losses.negatives(DISTINCT, ALL)
    assert losses.retrieval_accuracy(X, X, allowed, ALL) == (6, 6)
    exchanged = X.at[0].set(X[1]).at[1].set(X[0])
    assert losses.retrieval_accuracy(X, exchanged, allowed, ALL) == (4, 6)
    assert losses.retrieval_accuracy(X, exchanged, allowed, ALL.at[0].set(False)) == (4, 5)


def test_a_zero_embedding_gives_no_nan() -> None:
    zero = X.at[2].set(0.0)

    def total(x: jax.Array) -> jax.Array:
        return sum_of_similarity(x, ALL) + losses.pair_cosine(x, Y, jnp.ones(6))[0]

    value, gradient = quick_jit(jax.value_and_grad(total))(zero)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_pair_cosine_excludes_zero_weights_and_attracts_negative_ones() -> None:
    cosine = np.asarray(losses.pair_cosine(X, Y, jnp.eye(6)[0])[0])
    weight = jnp.array([1.0, 0.0, 0.0, -1.0, 0.0, 0.0])
    total, mass = losses.pair_cosine(X, Y, weight)
    attracted = losses.pair_cosine(X, Y, jnp.eye(6)[3])[0]
    np.testing.assert_allclose(total, cosine - attracted, rtol=1e-6)
    assert mass == 2
    x, y = np.asarray(X[0], np.float64), np.asarray(Y[0], np.float64)
    np.testing.assert_allclose(cosine, x @ y / np.linalg.norm(x) / np.linalg.norm(y), rtol=1e-5)
    gradient = quick_jit(jax.grad(lambda x: losses.pair_cosine(x, Y, weight)[0]))(X)
    assert (gradient[1] == 0).all()


def test_tagging_is_binary_cross_entropy_over_valid_rows() -> None:
    logits = jnp.asarray(RNG.standard_normal((4, 3)) * [[1], [1], [100], [1]], jnp.float32)
    labels = jnp.asarray(RNG.integers(0, 2, (4, 3)), jnp.float32)
    valid = jnp.array([True, True, True, False])
    total, weight = losses.tagging(logits, labels, valid)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(np.asarray(logits[:3])), torch.tensor(np.asarray(labels[:3]))
    )
    np.testing.assert_allclose(total / weight, expected, rtol=1e-5)
    assert weight == 3
