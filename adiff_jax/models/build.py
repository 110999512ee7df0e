"""From configurations to modules: the one place that matches on their types."""

from flax import linen as nn
from jax.typing import DTypeLike

from adiff_jax.models.byola import ByolA, ByolA2, ByolAEncoder, StridedByolA
from adiff_jax.models.cnn10 import Cnn10, Cnn10Encoder

Encoder = ByolA | ByolA2 | StridedByolA
"""The encoders of the BYOL-A family.

A configuration names the frontend, normalisation (`mean`, `std`), input `channels` and `stride`;
its module maps (features [b f m c], lengths [b], train) -> (frames [b t d], mask).
"""

FrameEncoder = Encoder | Cnn10
"""Any encoder that gives frames; Cnn10 normalises and masks by itself. `models.features.hear` runs
either kind."""


def build_encoder(config: FrameEncoder, dtype: DTypeLike) -> nn.Module:
    """The module of an encoder configuration."""
    match config:
        case ByolA() | ByolA2() | StridedByolA():
            return ByolAEncoder(config, dtype)
        case Cnn10():
            return Cnn10Encoder(config, dtype)
