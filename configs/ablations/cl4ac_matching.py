"""The matching loss on single clips, by negative: adiff ablate configs/ablations/cl4ac_matching.py

    adiff train configs/byola_tagging.py --workdir runs/byola_tagging

`baseline` is CL4AC's own, without the loss; `epoch` has one negative for a whole epoch, as the
published code does. On cached features, three seeds each; 20,480 clips, each read once.
"""

from dataclasses import replace

from adiff_jax.matching import AnotherCaption, EpochCaption, InBatch, Matching

from ..cl4ac_esc10 import get_config
from .cached import Cell, Grid, shorter


def get_grid() -> Grid:
    base = shorter(get_config())
    kinds = {"another": AnotherCaption(), "in-batch": InBatch(), "epoch": EpochCaption()}
    losses = {"baseline": None} | {name: Matching(kind) for name, kind in kinds.items()}
    cells = [
        Cell(n, replace(base, model=replace(base.model, matching=m))) for n, m in losses.items()
    ]
    return Grid("cl4ac_matching", tuple(cells), 3, "fold4", "runs/byola_tagging")
