"""SDD early and late, λ ∈ {0.5, 1, 2}: adiff ablate configs/ablations/sdd_weight.py."""

from dataclasses import replace

from .cached import Cell, Grid, get_config


def get_grid() -> Grid:
    base, cells = get_config(), []
    for name in ("off-0", *(f"{s}-{w}" for s in ("early", "late") for w in (0.5, 1, 2))):
        stage, weight = name.split("-")
        sdd = replace(base.model.sdd, stage=stage, weight=float(weight))
        cells.append(Cell(name, replace(base, model=replace(base.model, sdd=sdd))))
    return Grid("sdd_weight", tuple(cells), seeds=3, features_from="runs/byola_tagging")
