"""BYOL-A encoders against the published implementation, from the same log-mel and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.audio.frontends import BYOLA, log_mel
from adiff_jax.models.byola import ByolA, ByolA2, ByolAEncoder
from tests.golden.recipes import clip, fill
from tests.goldens import golden

GOLDEN = golden("byola_golden")
FRAMES = 301


def convolution(key: str, channels: int) -> dict[str, np.ndarray]:
    """Theirs is [out in mel time], ours [time mel in out]."""
    kernel = fill(f"{key}.weight", (64, channels, 3, 3)).transpose(3, 2, 1, 0)
    return {"kernel": kernel, "bias": fill(f"{key}.bias", (64,))}


def dense(key: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    return {
        "kernel": fill(f"{key}.weight", (outputs, inputs)).T,
        "bias": fill(f"{key}.bias", (outputs,)),
    }


def variables(blocks: int, flat: int, width: int) -> dict[str, dict]:
    """The recipe's weights under our names and layouts."""
    params, statistics = {}, {}
    for block in range(1, blocks + 1):
        conv, norm = f"features.{4 * block - 4}", f"features.{4 * block - 3}"
        params[f"conv_{block}"] = convolution(conv, 1 if block == 1 else 64)
        params[f"norm_{block}"] = {
            "scale": fill(f"{norm}.weight", (64,), norm=True),
            "bias": fill(f"{norm}.bias", (64,), norm=True),
        }
        statistics[f"norm_{block}"] = {
            "mean": fill(f"{norm}.running_mean", (64,), norm=True),
            "var": fill(f"{norm}.running_var", (64,), norm=True),
        }
    params["network"] = {
        "dense_1": dense("fc.0", flat, width),
        "dense_2": dense("fc.3", width, width),
    }
    tree = {"params": params, "batch_stats": statistics}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


@pytest.fixture(scope="module")
def features() -> jax.Array:
    """Normalised log-mel of the golden clip [1 301 64 1]."""
    mean, std = GOLDEN["norm_stats"]
    audio = jnp.asarray(clip(0))[None, : BYOLA.hop * (FRAMES + 3)]
    return ((log_mel(BYOLA, audio)[:, :FRAMES] - mean) / std)[..., None]


def encode(config: ByolA | ByolA2, weights: dict, features: jax.Array) -> np.ndarray:
    frames, mask = jax.jit(ByolAEncoder(config).apply)(weights, features, jnp.array([FRAMES]))
    assert mask.all()
    return np.asarray(frames[0])


def test_version_1_at_width_2048(features: jax.Array) -> None:
    frames = encode(ByolA(width=2048), variables(3, 512, 2048), features)
    np.testing.assert_allclose(
        frames[::4, ::4], GOLDEN["rand2048_seed20261120"], rtol=1e-4, atol=1e-3
    )


def test_version_2(features: jax.Array) -> None:
    frames = encode(ByolA2(), variables(2, 1024, 2048), features)
    np.testing.assert_allclose(
        frames[::8, ::4], GOLDEN["rand2022_seed20261120"], rtol=1e-4, atol=1e-3
    )
    pooled = frames.mean(axis=0) + frames.max(axis=0)
    np.testing.assert_allclose(
        pooled[::4], GOLDEN["rand2022_pool_seed20261120"], rtol=1e-4, atol=1e-3
    )
