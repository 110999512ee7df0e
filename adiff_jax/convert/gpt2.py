"""GPT-2 of any size <-> `models/gpt2.py` below "lm".

Hugging Face writes the names with `transformer.` before them (and the tied head as `lm_head`) or
without; older versions also store causal masks. GPT-2's Conv1D is [in out], unlike a Linear.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from adiff_jax.convert.engine import ConversionError
from adiff_jax.convert.table import Carried, Flat, Matrix, Rule, Table, Tied, layer_norm
from adiff_jax.models.gpt2 import Gpt2

_KERNEL = Matrix(transposed=False)


def _causal(mask: np.ndarray) -> str:
    """What is wrong with a stored causal mask [1 1 p p], "" when nothing is."""
    if mask.ndim != 4 or mask.shape[:2] != (1, 1) or mask.shape[2] != mask.shape[3]:
        return f"is {mask.shape}, no causal mask"
    right = np.array_equal(mask[0, 0] != 0, np.tri(mask.shape[2], dtype=bool))
    return "" if right else "is no causal mask: the model was trained on what comes after"


def rules() -> tuple[Rule, ...]:
    """The language model below "lm", names without any prefix."""
    layer, ours = "h.{i}", "lm/layers_{i}"
    return (
        Rule("wte.weight", "params/lm/wte"),
        Rule("wpe.weight", "params/lm/wpe"),
        *layer_norm(f"{layer}.ln_1", f"{ours}/norm_1"),
        Rule(f"{layer}.attn.c_attn.weight", f"params/{ours}/qkv/kernel", _KERNEL),
        Rule(f"{layer}.attn.c_attn.bias", f"params/{ours}/qkv/bias", Flat()),
        Rule(
            f"{layer}.attn.c_proj.weight",
            f"params/{ours}/out/kernel",
            Matrix(inputs=2, transposed=False),
        ),
        Rule(f"{layer}.attn.c_proj.bias", f"params/{ours}/out/bias"),
        *layer_norm(f"{layer}.ln_2", f"{ours}/norm_2"),
        Rule(f"{layer}.mlp.c_fc.weight", f"params/{ours}/expand/kernel", _KERNEL),
        Rule(f"{layer}.mlp.c_fc.bias", f"params/{ours}/expand/bias"),
        Rule(f"{layer}.mlp.c_proj.weight", f"params/{ours}/contract/kernel", _KERNEL),
        Rule(f"{layer}.mlp.c_proj.bias", f"params/{ours}/contract/bias"),
        *layer_norm("ln_f", "lm/norm"),
    )


def carried() -> tuple[Carried, ...]:
    """Buffers of older versions, names without any prefix."""
    return (Carried("h.{i}.attn.bias", _causal), Carried("h.{i}.attn.masked_bias"))


TABLE = Table(
    "GPT-2",
    rules=rules(),
    tied=(Tied("lm_head.weight", "wte.weight"),),
    carried=carried(),
    prefixes=("module.", "transformer."),
)

_FIXED: Mapping[str, Any] = {
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
"""Fields of config.json that our GPT-2 has no choice of, and the values that it is made for."""


def config_of(stored: Mapping[str, Any]) -> Gpt2:
    """The size that a Hugging Face config.json gives.

    Raises ConversionError with every field that is missing, or has a value that ours does not.
    """
    sizes = {
        "layers": "n_layer",
        "heads": "n_head",
        "width": "n_embd",
        "positions": "n_positions",
        "vocab_size": "vocab_size",
    }
    problems = [f"{name} is missing" for name in sizes.values() if name not in stored]
    problems += [
        f"{name} is {stored[name]!r}, {needed!r} is needed"
        for name, needed in _FIXED.items()
        if stored.get(name, needed) != needed
    ]
    inner = stored.get("n_inner")
    if inner is not None and inner != 4 * stored.get("n_embd", 0):
        problems.append(f"n_inner is {inner}, four times n_embd is needed")
    if problems:
        raise ConversionError("config.json is not of a GPT-2 of ours:\n  " + "\n  ".join(problems))
    found: dict[str, Any] = {ours: int(stored[theirs]) for ours, theirs in sizes.items()}
    return Gpt2(**found)
