"""HTSAT with its tagging head <-> `models/htsat.py` in a tagger.

As published for AudioSet: bare, or under "state_dict" with every name behind `sed_model.`; within
ADIFF it lies below `audio_encoder.base.htsat.`. Without a leaf are `head`, which no path of the
original reads, and positions, shift masks and the frontend, which are computed here.
"""

from collections.abc import Mapping

import numpy as np

from adiff_jax.convert.constants import exactly, frontend_constants
from adiff_jax.convert.engine import ConversionError
from adiff_jax.convert.table import (
    Carried,
    Convolution,
    Flat,
    Matrix,
    Rule,
    Table,
    batch_norm,
    layer_norm,
    linear,
)
from adiff_jax.models.htsat import Htsat
from adiff_jax.nn.swin import relative_positions, shift_mask

_BLOCK, _LAYER = "layers.{i}.blocks.{j}", "encoder/stages_{i}/layers_{j}"
_MERGE = "encoder/stages_{i}/merge"


def rules() -> tuple[Rule, ...]:
    """Encoder and head, names without any prefix."""
    return (
        *batch_norm("bn0", "encoder/norm_0"),
        Rule("patch_embed.proj.weight", "params/encoder/patch/conv/kernel", Convolution()),
        Rule("patch_embed.proj.bias", "params/encoder/patch/conv/bias"),
        *layer_norm("patch_embed.norm", "encoder/patch/norm"),
        *layer_norm(f"{_BLOCK}.norm1", f"{_LAYER}/norm_1"),
        Rule(f"{_BLOCK}.attn.relative_position_bias_table", f"params/{_LAYER}/bias_table"),
        Rule(f"{_BLOCK}.attn.qkv.weight", f"params/{_LAYER}/qkv/kernel", Matrix()),
        Rule(f"{_BLOCK}.attn.qkv.bias", f"params/{_LAYER}/qkv/bias", Flat()),
        Rule(f"{_BLOCK}.attn.proj.weight", f"params/{_LAYER}/out/kernel", Matrix(inputs=2)),
        Rule(f"{_BLOCK}.attn.proj.bias", f"params/{_LAYER}/out/bias"),
        *layer_norm(f"{_BLOCK}.norm2", f"{_LAYER}/norm_2"),
        *linear(f"{_BLOCK}.mlp.fc1", f"{_LAYER}/expand"),
        *linear(f"{_BLOCK}.mlp.fc2", f"{_LAYER}/contract"),
        *linear("layers.{i}.downsample.reduction", f"{_MERGE}/reduction", bias=False),
        *layer_norm("layers.{i}.downsample.norm", f"{_MERGE}/norm"),
        *layer_norm("norm", "encoder/norm"),
        Rule("tscam_conv.weight", "params/head/conv/kernel", Convolution()),
        Rule("tscam_conv.bias", "params/head/conv/bias"),
    )


def carried(config: Htsat) -> tuple[Carried, ...]:
    """What else a checkpoint of `config` holds, names without any prefix."""
    return (
        *frontend_constants("", config.frontend),
        Carried("bn0.num_batches_tracked"),
        Carried(
            f"{_BLOCK}.attn.relative_position_index", exactly(relative_positions(config.window))
        ),
        *(
            Carried(
                f"layers.{stage}.blocks.{{j}}.attn_mask",
                exactly(shift_mask(rows, columns, config.window)),
            )
            for stage, (rows, columns) in enumerate(config.grids)
        ),
        Carried("head.weight"),
        Carried("head.bias"),
    )


TABLE = Table(
    "HTSAT",
    rules=rules(),
    carried=carried(Htsat()),
    prefixes=("module.", "sed_model.", "module."),
    containers=("state_dict",),
)


def classes_of(entries: Mapping[str, np.ndarray], name: str = "tscam_conv.bias") -> int:
    """Classes of the tagging head, whose bias is called `name`."""
    if name not in entries:
        raise ConversionError(
            f"the file is no HTSAT with a tagging head: it has no {name!r}; its entries are "
            f"{', '.join(list(entries)[:8])}, ..."
        )
    return int(entries[name].shape[0])
