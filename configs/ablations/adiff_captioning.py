"""Position captioning: a fifth of the rows, none of them, two fifths, at equal steps.

    adiff ablate configs/ablations/adiff_captioning.py

after, once for 0 and once for 40 (the fifth is what the other grids are trained on):

    adiff data embed configs/ablations/adiff_captions_0.py \\
        --encoder runs/byola_tagging --out runs/adiff_esc10_embeddings/captions_0
"""

from dataclasses import replace

from adiff_jax.data.embeddings import CachedEmbeddings

from .adiff import SPLIT, Cell, Grid, get_config


def get_grid() -> Grid:
    base = get_config()
    cells = {"20": base}
    for share in ("0", "40"):
        train = CachedEmbeddings(f"runs/adiff_esc10_embeddings/captions_{share}")
        cells[share] = replace(base, data=replace(base.data, train=train))
    return Grid("adiff_captioning", tuple(Cell(*cell) for cell in cells.items()), split=SPLIT)
