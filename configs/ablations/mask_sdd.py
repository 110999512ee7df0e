"""{full attention, CAC} × {SDD off, late}: adiff ablate configs/ablations/mask_sdd.py.

One CPU core: a cell takes 6 minutes, 8 to 10 with SDD, after 9 minutes for the features of all of
them; two cells run beside each other with --cell 0/2 and 1/2. Results in docs/results.md.
"""

from dataclasses import replace

from .cached import Cell, Grid, get_config


def get_grid() -> Grid:
    base, cells = get_config(), []
    for mask, stage in (("none", "off"), ("none", "late"), ("cac", "off"), ("cac", "late")):
        parts = {"comparison": replace(base.model.comparison, mask=mask)}
        model = replace(base.model, sdd=replace(base.model.sdd, stage=stage), **parts)
        cells.append(Cell(f"{mask}-{stage}", replace(base, model=model)))
    return Grid("mask_sdd", tuple(cells), seeds=5, features_from="runs/byola_tagging")
