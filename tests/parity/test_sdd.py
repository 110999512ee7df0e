"""SDD against the goldens: its two losses with gradients, LSTM pooling, and both end to end."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax import losses
from adiff_jax.models.sdd import ClipPooling, Disentanglement
from adiff_jax.nn.recurrent import BiLSTM, masked_mean
from tests.golden.recipes import SEED, fill
from tests.goldens import golden
from tests.quick import quick_jit

GOLDEN = golden("sdd_cac_golden")
PRECISION = [("float64", 1e-12), ("float32", 1e-5)]
TEMPERATURES = [1.0, 0.2, 0.07]
SEEDS = {"S": SEED, "D": 777001}


def similarity_loss(x: jax.Array, y: jax.Array, temperature: jax.Array | float) -> jax.Array:
    rows = x.shape[0]
    total, weight = losses.sym_info_nce(
        x, y, temperature, jnp.ones((rows, rows), bool), jnp.ones(rows, bool)
    )
    return total / weight


def discrepancy_loss(x: jax.Array, y: jax.Array) -> jax.Array:
    total, weight = losses.pair_cosine(x, y, jnp.ones(x.shape[0], x.dtype))
    return total / weight


def check(loss: Callable, x: str, y: str, name: str, dtype: str, tolerance: float) -> None:
    """Value and both gradients of a loss of two golden inputs."""
    with jax.enable_x64(dtype == "float64"):
        inputs = (jnp.asarray(GOLDEN[x], dtype), jnp.asarray(GOLDEN[y], dtype))
        value, gradients = quick_jit(jax.value_and_grad(loss, argnums=(0, 1)))(*inputs)
        assert value.dtype == dtype
        for got, key in zip((value, *gradients), ("", "_gx", "_gy"), strict=True):
            expected = GOLDEN[f"{name}{key}"]
            np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_similarity_loss_and_its_gradients(
    temperature: float, dtype: str, tolerance: float
) -> None:
    name = f"s{SEED}_syminfonce_tau{temperature}"
    loss = partial(similarity_loss, temperature=temperature)
    check(loss, f"s{SEED}_xs", f"s{SEED}_ys", name, dtype, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_discrepancy_loss_and_its_gradients(dtype: str, tolerance: float) -> None:
    name = f"s{SEED}_paircossim"
    check(discrepancy_loss, f"s{SEED}_xd", f"s{SEED}_yd", name, dtype, tolerance)


def test_similarity_loss_of_a_batch_of_one_is_zero() -> None:
    one = jnp.ones((1, 8))
    assert similarity_loss(one, -one, 0.07) == GOLDEN["syminfonce_B1"] == 0


def lstm_weights(which: str) -> dict[str, jax.Array]:
    """A golden LSTM under our names; PyTorch's matrices are [gates inputs]."""
    seed, weights = SEEDS[which], {}
    for direction, suffix in (("forward", "_l0"), ("backward", "_l0_reverse")):
        weights |= {
            f"{direction}_input": fill(f"weight_ih{suffix}", (32, 16), seed).T,
            f"{direction}_hidden": fill(f"weight_hh{suffix}", (32, 8), seed).T,
            f"{direction}_input_bias": fill(f"bias_ih{suffix}", (32,), seed),
            f"{direction}_hidden_bias": fill(f"bias_hh{suffix}", (32,), seed),
        }
    return {name: jnp.asarray(value) for name, value in weights.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
@pytest.mark.parametrize("which", ["S", "D"])
def test_lstm_pooling_with_and_without_lengths(which: str, dtype: str, tolerance: float) -> None:
    with jax.enable_x64(dtype == "float64"):
        x = jnp.asarray(GOLDEN[f"lstm_{which}_x"], dtype)
        weights = {"params": lstm_weights(which)}
        weights = jax.tree.map(lambda leaf: leaf.astype(dtype), weights)
        apply = quick_jit(partial(BiLSTM(8).apply, weights))
        frames = jnp.arange(6)[None]
        everything, lengths = frames < jnp.array([[6], [6]]), frames < jnp.array([[6], [4]])

        full = apply(x, everything)
        assert full.dtype == dtype
        expected = {
            "full": full,
            "pool_full": masked_mean(full, everything),
            "pool_len6_4": masked_mean(apply(x, lengths), lengths),
        }
        for name, got in expected.items():
            golds = GOLDEN[f"lstm_{which}_{name}"]
            np.testing.assert_allclose(got, golds, rtol=0, atol=tolerance)


def test_from_frames_to_both_losses() -> None:
    x, y = (jnp.asarray(GOLDEN[name], jnp.float32) for name in ("sdd_X", "sdd_Y"))
    mask = jnp.ones(x.shape[:2], bool)
    weights = {"params": {"similar": lstm_weights("S"), "discrepant": lstm_weights("D")}}

    pooling = ClipPooling(Disentanglement(temperature=0.2))
    pooled = quick_jit(pooling.apply)(weights, x, y, mask, mask)
    assert pooled.temperature == pytest.approx(0.2)
    for temperature in TEMPERATURES:
        got = similarity_loss(pooled.similar_1, pooled.similar_2, temperature)
        np.testing.assert_allclose(got, GOLDEN[f"sdd_LS_tau{temperature}"], rtol=1e-5)
    got = discrepancy_loss(pooled.discrepant_1, pooled.discrepant_2)
    np.testing.assert_allclose(got, GOLDEN["sdd_LD"], rtol=1e-5)


def test_from_frames_to_both_losses_in_float64() -> None:
    with jax.enable_x64(True):
        mask = jnp.ones(GOLDEN["sdd_X"].shape[:2], bool)

        @quick_jit
        def pool(weights: dict, frames: jax.Array) -> jax.Array:
            return masked_mean(BiLSTM(8).apply({"params": weights}, frames, mask), mask)

        similar, discrepant = slice(16), slice(16, None)
        clips = GOLDEN["sdd_X"], GOLDEN["sdd_Y"]
        pooled_s = [pool(lstm_weights("S"), clip[..., similar]) for clip in clips]
        pooled_d = [pool(lstm_weights("D"), clip[..., discrepant]) for clip in clips]
        for temperature in TEMPERATURES:
            expected = GOLDEN[f"sdd_LS_tau{temperature}"]
            got = similarity_loss(*pooled_s, temperature)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
        got = discrepancy_loss(*pooled_d)
        np.testing.assert_allclose(got, GOLDEN["sdd_LD"], rtol=0, atol=1e-12)
