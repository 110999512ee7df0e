"""From configurations to modules: the one place that matches on their types."""

from flax import linen as nn
from jax.typing import DTypeLike

from adiff_jax.models.byola import ByolA, ByolA2, ByolAEncoder, StridedByolA

Encoder = ByolA | ByolA2 | StridedByolA
"""Any encoder of the house.

Its configuration names the frontend, normalisation (`mean`, `std`), input `channels` and
`stride`; its module maps (features [b f m c], lengths [b], train) -> (frames [b t d], mask).
"""


def build_encoder(config: Encoder, dtype: DTypeLike) -> nn.Module:
    """The module of an encoder configuration."""
    match config:
        case ByolA() | ByolA2() | StridedByolA():
            return ByolAEncoder(config, dtype)
