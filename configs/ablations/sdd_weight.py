"""SDD early and late, λ ∈ {0.5, 1, 2}: adiff ablate configs/ablations/sdd_weight.py.

`off` is `cac-off` of mask_sdd.py and `late-0.5` its `cac-late`: runs of the same experiment, so
that their directories can be copied instead of being trained again.
"""

from dataclasses import replace

from .cached import Cell, Grid, get_config


def get_grid() -> Grid:
    base = get_config()
    sdd = base.model.sdd
    arms = {"off": replace(sdd, stage="off")}
    for stage in ("early", "late"):
        for weight in (0.5, 1.0, 2.0):
            arms[f"{stage}-{weight:g}"] = replace(sdd, stage=stage, weight=weight)
    cells = (Cell(n, replace(base, model=replace(base.model, sdd=a))) for n, a in arms.items())
    return Grid("sdd_weight", tuple(cells), seeds=3, features_from="runs/byola_tagging")
