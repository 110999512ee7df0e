"""CL4AC's matching loss on ADIFF in stage 2: adiff ablate configs/ablations/adiff_matching.py

The commands that come before it are those of adiff_cross.py. `swapped` asks of every explanation
whether the clips are in its order; `in-batch` whether it is of these clips at all. Three seeds
each.
"""

from dataclasses import replace

from adiff_jax.matching import InBatch, Matching, SwappedOrder

from .adiff import Cell, Grid, get_config


def get_grid() -> Grid:
    base = get_config()
    losses = {"off": None, "swapped": Matching(SwappedOrder()), "in-batch": Matching(InBatch())}
    models = {name: replace(base.model, matching=loss) for name, loss in losses.items()}
    cells = tuple(Cell(name, replace(base, model=model)) for name, model in models.items())
    return Grid("adiff_matching", cells, seeds=3, split="single_tier1")
