"""Cross-projection: with it, the naive baseline, and that with as many parameters.

    adiff ablate configs/ablations/adiff_cross.py

`naive-deeper` has a layer more in either audio mapper: together, what cross-projection holds.
"""

from dataclasses import replace

from .adiff import SPLIT, Cell, Grid, get_config


def get_grid() -> Grid:
    base = get_config()
    naive = replace(base.model, cross=None)
    deeper = replace(naive, mappers=replace(naive.mappers, audio_layers=3))
    models = {"cross-projection": base.model, "naive": naive, "naive-deeper": deeper}
    cells = (Cell(name, replace(base, model=model)) for name, model in models.items())
    return Grid("adiff_cross", tuple(cells), split=SPLIT)
