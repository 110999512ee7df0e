"""The frozen language model's size, in layers × width, each with a stage 1 of its own.

    adiff ablate configs/ablations/adiff_lm_size.py

`4x256` is runs/adiff_esc10_text; the others, such as 2x128, are trained like it:

    adiff train configs/adiff_esc10_text.py --workdir runs/adiff_esc10_text_2x128 \\
        --model.lm.layers 2 --model.lm.width 128
"""

from dataclasses import replace

from .adiff import CLIPS, SPLIT, TEXT, Cell, Grid, get_config


def get_grid() -> Grid:
    base = get_config()
    cells = {"4x256": base}
    for layers, width in ((2, 128), (4, 128), (8, 256), (4, 512)):
        lm = replace(base.model.lm, layers=layers, width=width)
        text = replace(TEXT, run=f"{TEXT.run}_{layers}x{width}")
        model = replace(base.model, lm=lm)
        cells[f"{layers}x{width}"] = replace(base, model=model, start=(CLIPS, text))
    return Grid("adiff_lm_size", tuple(Cell(*cell) for cell in cells.items()), split=SPLIT)
