"""SDD on Z with and without segments: adiff ablate configs/ablations/sdd_segments.py.

`with-segments` is `cac-late` of mask_sdd.py, as `late-0.5` of sdd_weight.py is.
"""

from dataclasses import replace

from .cached import Cell, Grid, get_config


def get_grid() -> Grid:
    base = get_config()
    without = replace(base.model, sdd=replace(base.model.sdd, segments=False))
    cells = (Cell("with-segments", base), Cell("without-segments", replace(base, model=without)))
    return Grid("sdd_segments", cells, seeds=3, features_from="runs/byola_tagging")
