"""What the grids of ADIFF start from: stage 2 of the small one, from the runs that it needs.

`configs/adiff_esc10_stage3.py` says how those are made: runs/byola_tagging,
runs/adiff_esc10_text, and the embeddings that the cells are trained on.
"""

from dataclasses import replace

from adiff_jax.ablate import Cell as Cell
from adiff_jax.ablate import Grid as Grid
from adiff_jax.experiment import Experiment, StartFrom

from ..adiff_esc10_stage2 import get_config as grounding

CLIPS = StartFrom("runs/byola_tagging", (("", "clips"),))
TEXT = StartFrom("runs/adiff_esc10_text", (("lm", "lm"),))
SPLIT = "single_tier1"


def get_config() -> Experiment:
    return replace(grounding(), start=(CLIPS, TEXT))
