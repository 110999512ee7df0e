"""PANNs Cnn10 <-> `models/cnn10.py` with its head.

Published under "model". The frontend's constants are checked against ours and carried.
"""

from collections.abc import Mapping

import numpy as np

from adiff_jax.convert.constants import frontend_constants
from adiff_jax.convert.engine import ConversionError
from adiff_jax.convert.table import Carried, Convolution, Rule, Table, batch_norm, linear
from adiff_jax.models.cnn10 import Cnn10


def _half_block(half: int) -> tuple[Rule, ...]:
    """One convolution of each block with its batch norm."""
    there = "conv_block{i}."
    return (
        Rule(
            f"{there}conv{half}.weight",
            f"params/encoder/conv_{{i}}_{half}/kernel",
            Convolution(),
        ),
        *batch_norm(f"{there}bn{half}", f"encoder/norm_{{i}}_{half}"),
    )


TABLE = Table(
    "Cnn10",
    rules=(
        *batch_norm("bn0", "encoder/norm_0"),
        *_half_block(1),
        *_half_block(2),
        *linear("fc1", "head/dense"),
        *linear("fc_audioset", "head/events"),
    ),
    carried=(
        *frontend_constants("", Cnn10().frontend),
        Carried("bn0.num_batches_tracked"),
        Carried("conv_block{i}.bn{j}.num_batches_tracked"),
    ),
    containers=("model",),
)


def classes_of(entries: Mapping[str, np.ndarray]) -> int:
    """Classes of the tagging head."""
    if "fc_audioset.bias" not in entries:
        raise ConversionError(
            "the file is no Cnn10 with its head: it has no 'fc_audioset.bias'; its entries are "
            f"{', '.join(list(entries)[:8])}, ..."
        )
    return int(entries["fc_audioset.bias"].shape[0])
