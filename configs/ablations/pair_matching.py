"""CL4AC's matching loss on pairs, by negative: adiff ablate configs/ablations/pair_matching.py

    adiff train configs/byola_tagging.py --workdir runs/byola_tagging

ADC with the CAC mask and without SDD, so that the loss stands alone. Negatives are the caption of
another pair, the same caption of the clips in the other order, and a caption with an edit turned
round (add ↔ remove). On cached features, three seeds each; 10,240 pairs, half as many as the other
grids of ADC have.
"""

from dataclasses import replace

from adiff_jax.matching import AnotherCaption, EditedCaption, Matching, SwappedOrder
from adiff_jax.models.sdd import Disentanglement

from .cached import Cell, Grid, get_config


def get_grid() -> Grid:
    base = get_config()
    data = replace(base.data, train=replace(base.data.train, size=10_240))
    base = replace(base, data=data, train=replace(base.train, steps=320, eval_every=160))
    model = replace(base.model, sdd=Disentanglement(stage="off"))
    kinds = {"another": AnotherCaption(), "swapped": SwappedOrder(), "edited": EditedCaption()}
    losses = {"off": None} | {name: Matching(kind) for name, kind in kinds.items()}
    cells = (Cell(n, replace(base, model=replace(model, matching=m))) for n, m in losses.items())
    return Grid("pair_matching", tuple(cells), seeds=3, features_from="runs/byola_tagging")
