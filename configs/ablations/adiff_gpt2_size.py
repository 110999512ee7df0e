"""GPT-2 base, medium, large and XL as the frozen language model, at equal steps.

    adiff convert gpt2 path/of/gpt2-medium runs/gpt2_medium       and so on
    adiff ablate configs/ablations/adiff_gpt2_size.py --cell 0/12

For an accelerator, in bfloat16; never run by us, so that its cost is not known.
"""

from dataclasses import replace

from adiff_jax.models.gpt2 import GPT2_BASE, GPT2_LARGE, GPT2_MEDIUM, GPT2_XL

from .adiff import CLIPS, SPLIT, TEXT, Cell, Grid
from .adiff_gpt2 import get_config


def get_grid() -> Grid:
    base, cells = get_config(), []
    lms = {"base": GPT2_BASE, "medium": GPT2_MEDIUM, "large": GPT2_LARGE, "xl": GPT2_XL}
    for size, lm in lms.items():
        start = (CLIPS, replace(TEXT, run=f"runs/gpt2_{size}"))
        cells.append(Cell(size, replace(base, model=replace(base.model, lm=lm), start=start)))
    return Grid("adiff_gpt2_size", tuple(cells), split=SPLIT)
