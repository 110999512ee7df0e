"""Weights under the published names of ADIFF, laid over our trees of parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.models.htsat import Htsat

Fill = Callable[[str, tuple[int, ...]], np.ndarray]
"""The array of a published name and shape."""

HTSAT_PREFIX = "audio_encoder.base.htsat."


def htsat_variables(fill: Fill, config: Htsat | None = None, classes: int = 527) -> dict[str, Any]:
    """Variables of a `TaggerModel` of `config` (by default the published size), float32."""
    config = config or Htsat()

    def of(name: str, *shape: int) -> np.ndarray:
        return fill(HTSAT_PREFIX + name, shape)

    def norm(name: str, width: int) -> dict[str, np.ndarray]:
        return {"scale": of(f"{name}.weight", width), "bias": of(f"{name}.bias", width)}

    def dense(name: str, inputs: int, outputs: int) -> dict[str, np.ndarray]:
        return {
            "kernel": of(f"{name}.weight", outputs, inputs).T,
            "bias": of(f"{name}.bias", outputs),
        }

    def convolution(name: str, inputs: int, outputs: int, *size: int) -> dict[str, np.ndarray]:
        kernel = of(f"{name}.weight", outputs, inputs, *size)
        return {"kernel": kernel.transpose(2, 3, 1, 0), "bias": of(f"{name}.bias", outputs)}

    def block(name: str, width: int, heads: int) -> dict[str, Any]:
        head = width // heads
        qkv, out = (
            dense(f"{name}.attn.qkv", width, 3 * width),
            dense(f"{name}.attn.proj", width, width),
        )
        hidden = config.mlp_ratio * width
        return {
            "norm_1": norm(f"{name}.norm1", width),
            "qkv": {
                "kernel": qkv["kernel"].reshape(width, 3, heads, head),
                "bias": qkv["bias"].reshape(3, heads, head),
            },
            "bias_table": of(
                f"{name}.attn.relative_position_bias_table", (2 * config.window - 1) ** 2, heads
            ),
            "out": {"kernel": out["kernel"].reshape(heads, head, width), "bias": out["bias"]},
            "norm_2": norm(f"{name}.norm2", width),
            "expand": dense(f"{name}.mlp.fc1", width, hidden),
            "contract": dense(f"{name}.mlp.fc2", hidden, width),
        }

    encoder: dict[str, Any] = {
        "norm_0": norm("bn0", config.frontend.mels),
        "patch": {
            "conv": convolution("patch_embed.proj", 1, config.width, config.patch, config.patch),
            "norm": norm("patch_embed.norm", config.width),
        },
        "norm": norm("norm", config.embedding_width),
    }
    for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
        width, name = config.width << stage, f"layers.{stage}"
        encoder[f"stages_{stage}"] = layers = {
            f"layers_{index}": block(f"{name}.blocks.{index}", width, heads)
            for index in range(depth)
        }
        if stage + 1 < len(config.depths):
            reduction = of(f"{name}.downsample.reduction.weight", 2 * width, 4 * width)
            layers["merge"] = {
                "norm": norm(f"{name}.downsample.norm", 4 * width),
                "reduction": {"kernel": reduction.T},
            }
    bins = config.grids[-1][0] // config.chunks
    head = {"conv": convolution("tscam_conv", config.embedding_width, classes, bins, 3)}
    statistics = {
        "mean": of("bn0.running_mean", config.frontend.mels),
        "var": of("bn0.running_var", config.frontend.mels),
    }
    tree = {
        "params": {"encoder": encoder, "head": head},
        "batch_stats": {"encoder": {"norm_0": statistics}},
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)
