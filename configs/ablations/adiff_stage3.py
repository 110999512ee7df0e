"""Stage 3 or as many more steps of stage 2, at the same small rate: does GPT-2 have to learn too?

    adiff ablate configs/ablations/adiff_stage3.py

Both go on from runs/adiff_esc10_stage2; seeds differ in what comes after it.
"""

from dataclasses import replace

from adiff_jax.experiment import StartFrom

from ..adiff_esc10_stage3 import get_config
from .adiff import SPLIT, Cell, Grid


def get_grid() -> Grid:
    base = replace(get_config(), start=(StartFrom("runs/adiff_esc10_stage2", (("", ""),)),))
    frozen = replace(base, model=replace(base.model, freeze_lm=True))
    return Grid("adiff_stage3", (Cell("with", base), Cell("without", frozen)), split=SPLIT)
