"""float32 against bfloat16: adiff ablate configs/ablations/precision.py

    adiff train configs/byola_tagging.py --workdir runs/byola_tagging

ADC on cached features, parameters in float32 and the computation in either, one draw of everything
else: how far apart do the two training curves run? Both cells' `metrics.jsonl` have a line a step.
"""

from dataclasses import replace

from .cached import Cell, Grid, get_config


def get_grid() -> Grid:
    base = get_config()
    data = replace(base.data, train=replace(base.data.train, size=10_240))
    base = replace(base, data=data, train=replace(base.train, steps=320, log_every=1))
    cells = [
        Cell(n, replace(base, model=replace(base.model, compute=n)))
        for n in ("float32", "bfloat16")
    ]
    return Grid("precision", tuple(cells), seeds=1, features_from="runs/byola_tagging")
