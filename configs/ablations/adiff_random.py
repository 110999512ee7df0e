"""Stage 2 with a random encoder: a tagger after one step at a hundredth of its rate.

    adiff train configs/byola_tagging.py --train.steps 1 --workdir runs/byola_random
    adiff data embed configs/adiff_esc10.py --encoder runs/byola_random \\
        --out runs/adiff_esc10_embeddings/random
"""

from dataclasses import replace

from .adiff import CLIPS, TEXT, Experiment
from .adiff import get_config as hears


def get_config() -> Experiment:
    base = hears()
    train = replace(base.data.train, path="runs/adiff_esc10_embeddings/random")
    start = (replace(CLIPS, run="runs/byola_random"), TEXT)
    return replace(base, data=replace(base.data, train=train), start=start)
