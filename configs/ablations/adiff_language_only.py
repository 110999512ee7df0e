"""What is learnt without hearing: a random encoder, a zero prefix, the clips of other pairs.

    adiff ablate configs/ablations/adiff_language_only.py

The random encoder is a tagger after one step at a hundredth of its rate, with its own embeddings:

    adiff train configs/htsat_esc10_tagging.py --train.steps 1 --workdir runs/htsat_esc10_random
    adiff data embed configs/adiff_esc10.py --encoder runs/htsat_esc10_random --size 12000 \\
        --out runs/adiff_esc10_embeddings/random
"""

from dataclasses import replace

from adiff_jax.data.controls import Shuffled

from .adiff import CLIPS, TEXT, Grid, get_config, grid


def get_grid() -> Grid:
    base = get_config()
    data, cells = base.data, {"hears": base}
    noise = replace(data.train, path="runs/adiff_esc10_embeddings/random")
    start = (replace(CLIPS, run="runs/htsat_esc10_random"), TEXT)
    cells["random-encoder"] = replace(base, data=replace(data, train=noise), start=start)
    cells["zero-prefix"] = replace(base, model=replace(base.model, zero_prefix=True))
    others = replace(data, train=Shuffled(data.train), validation=Shuffled(data.validation))
    cells["shuffled-audio"] = replace(base, data=others)
    return grid("adiff_language_only", cells)
