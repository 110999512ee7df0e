"""BYOL-A encoders: AudioNTT2020Task6 of any width and AudioNTT2022 <-> `models/byola.py`.

Published as a bare state dictionary, or under "state_dict". The mean and deviation of the log-mel
are not in it: they belong to the recordings (`adiff data statistics`).
"""

from collections.abc import Mapping

import numpy as np

from adiff_jax.convert.engine import ConversionError
from adiff_jax.convert.table import (
    Carried,
    Convolution,
    Matrix,
    Rule,
    Table,
    batch_norm,
)
from adiff_jax.models.byola import ByolA, ByolA2

_TIME_FIRST = Convolution((3, 2, 1, 0))  # theirs is [out in mel time], ours [time mel in out]


def _block(number: int) -> tuple[Rule, ...]:
    """Convolution and batch norm; each block has four modules there: they, ReLU and pooling."""
    there = f"features.{4 * (number - 1)}"
    return (
        Rule(f"{there}.weight", f"params/encoder/conv_{number}/kernel", _TIME_FIRST),
        Rule(f"{there}.bias", f"params/encoder/conv_{number}/bias"),
        *batch_norm(f"features.{4 * (number - 1) + 1}", f"encoder/norm_{number}"),
    )


def _dense(there: str, here: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{there}.weight", f"params/encoder/network/{here}/kernel", Matrix()),
        Rule(f"{there}.bias", f"params/encoder/network/{here}/bias"),
    )


TABLE = Table(
    "BYOL-A",
    rules=(
        *(rule for number in (1, 2, 3) for rule in _block(number)),
        *_dense("fc.0", "dense_1"),
        *_dense("fc.3", "dense_2"),
    ),
    carried=tuple(Carried(f"features.{4 * block + 1}.num_batches_tracked") for block in range(3)),
    containers=("state_dict",),
)


def config_of(entries: Mapping[str, np.ndarray]) -> ByolA | ByolA2:
    """The configuration whose encoder these entries (names without prefixes) are."""
    first = entries.get("fc.0.weight")
    if first is None or first.ndim != 2:
        raise ConversionError(
            "the file is no BYOL-A encoder: it has no matrix 'fc.0.weight'; its entries are "
            f"{', '.join(list(entries)[:8])}, ..."
        )
    width = int(first.shape[0])
    return ByolA(width=width) if "features.8.weight" in entries else ByolA2(hidden=width)
