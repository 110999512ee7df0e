"""CAC masks and the difference encoder's layers against the goldens, in float64 and float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.models.cac import cac_mask
from adiff_jax.nn.transformer import EncoderLayer
from tests.golden.recipes import fill
from tests.goldens import golden
from tests.quick import quick_jit

GOLDEN = golden("sdd_cac_golden")
WIDTH, HEADS, HIDDEN, LAYERS = 32, 4, 64, 2
PRECISION = [("float64", 1e-12), ("float32", 1e-5)]


def layer_weights(layer: int) -> dict:
    """Weights of one of PyTorch's encoder layers; its projections are packed query, key, value."""
    name = f"layers.{layer}"
    packed = fill(f"{name}.self_attn.in_proj_weight", (3 * WIDTH, WIDTH)).reshape(3, WIDTH, WIDTH)
    biases = fill(f"{name}.self_attn.in_proj_bias", (3 * WIDTH,)).reshape(3, HEADS, -1)
    attention = {
        part: {"kernel": weight.T.reshape(WIDTH, HEADS, -1), "bias": bias}
        for part, weight, bias in zip(("query", "key", "value"), packed, biases, strict=True)
    }
    out = fill(f"{name}.self_attn.out_proj.weight", (WIDTH, WIDTH)).T.reshape(HEADS, -1, WIDTH)
    attention["out"] = {"kernel": out, "bias": fill(f"{name}.self_attn.out_proj.bias", (WIDTH,))}
    return {
        "attention": attention,
        "feed_forward": {
            "expand": {
                "kernel": fill(f"{name}.linear1.weight", (HIDDEN, WIDTH)).T,
                "bias": fill(f"{name}.linear1.bias", (HIDDEN,)),
            },
            "contract": {
                "kernel": fill(f"{name}.linear2.weight", (WIDTH, HIDDEN)).T,
                "bias": fill(f"{name}.linear2.bias", (WIDTH,)),
            },
        },
        **{
            f"norm_{k}": {
                "scale": fill(f"{name}.norm{k}.weight", (WIDTH,), norm=True),
                "bias": fill(f"{name}.norm{k}.bias", (WIDTH,), norm=True),
            }
            for k in (1, 2)
        },
    }


def encoded(x: np.ndarray, allowed: np.ndarray, dtype: str) -> np.ndarray:
    """Both golden layers on [s d] under a mask [s s], computed in `dtype`."""
    with jax.enable_x64(dtype == "float64"):
        module = EncoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.1, dtype=jnp.dtype(dtype))
        apply = quick_jit(module.apply)
        h = jnp.asarray(x[None], dtype)
        for layer in range(LAYERS):
            weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), layer_weights(layer))
            h = apply({"params": weights}, h, jnp.asarray(allowed[None, None]))
        assert h.dtype == dtype
        return np.asarray(h[0])


def test_masks_are_exact() -> None:
    clip = jnp.array([0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(
        cac_mask(clip, jnp.ones(7, bool)), GOLDEN["cac_mask_3_4"].astype(bool)
    )
    padded = cac_mask(
        jnp.asarray(GOLDEN["cac_seg_padded"], jnp.int32),
        jnp.asarray(GOLDEN["cac_valid_padded"].astype(bool)),
    )
    np.testing.assert_array_equal(padded, GOLDEN["cac_mask_3_4_padded"].astype(bool))


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_two_layers_under_the_mask(dtype: str, tolerance: float) -> None:
    z = encoded(GOLDEN["cac_x"], GOLDEN["cac_mask_3_4"].astype(bool), dtype)
    np.testing.assert_allclose(z, GOLDEN["cac_enc_y"], rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_two_layers_without_a_mask(dtype: str, tolerance: float) -> None:
    z = encoded(GOLDEN["cac_x"], np.ones((7, 7), bool), dtype)
    np.testing.assert_allclose(z, GOLDEN["cac_enc_y_nomask"], rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISION)
def test_padding_changes_nothing(dtype: str, tolerance: float) -> None:
    valid = GOLDEN["cac_valid_padded"].astype(bool)
    x = np.random.default_rng(0).standard_normal((len(valid), WIDTH)) * 100
    x[valid] = GOLDEN["cac_x"]
    z = encoded(x, GOLDEN["cac_mask_3_4_padded"].astype(bool), dtype)
    np.testing.assert_allclose(z[valid], GOLDEN["cac_enc_y"], rtol=0, atol=tolerance)
