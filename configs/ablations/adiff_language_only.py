"""What is learnt without hearing: a random encoder, a zero prefix, the clips of other pairs.

    adiff ablate configs/ablations/adiff_language_only.py

after the commands of adiff_random.py. All are tested on the pairs as they are.
"""

from dataclasses import replace

from adiff_jax.data.controls import Shuffled

from .adiff import SPLIT, Cell, Grid, get_config
from .adiff_random import get_config as random


def get_grid() -> Grid:
    base = get_config()
    shuffled = {name: Shuffled(getattr(base.data, name)) for name in ("train", "validation")}
    cells = {"hears": base, "random-encoder": random()}
    cells["zero-prefix"] = replace(base, model=replace(base.model, zero_prefix=True))
    cells["shuffled-audio"] = replace(base, data=replace(base.data, **shuffled))
    return Grid("adiff_language_only", tuple(Cell(*cell) for cell in cells.items()), split=SPLIT)
