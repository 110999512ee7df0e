"""SDD early and late, λ ∈ {0.5, 1, 2}: adiff ablate configs/ablations/sdd_weight.py."""

from dataclasses import replace

from adiff_jax.ablate import Cell, Grid

from .cached import get_config


def get_grid() -> Grid:
    base, arms = get_config(), [("off", 0.0)]
    arms += [(stage, weight) for stage in ("early", "late") for weight in (0.5, 1.0, 2.0)]
    sdds = [(s, w, replace(base.model.sdd, stage=s, weight=w)) for s, w in arms]
    cells = [
        Cell(f"{s}-{w:g}", replace(base, model=replace(base.model, sdd=x))) for s, w, x in sdds
    ]
    return Grid("sdd_weight", tuple(cells), seeds=3, features_from="runs/byola_tagging")
