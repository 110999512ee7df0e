"""CL4AC as the published code executes it: its schedule, its padding, its one negative an epoch.

    adiff data clotho --audio AUDIO --train clotho_captions_development.csv \\
        --validation clotho_captions_validation.csv --test clotho_captions_evaluation.csv \\
        --out tables/clotho
    adiff convert cnn10 Cnn10_mAP=0.380.pth runs/cnn10
    adiff train configs/cl4ac_2021.py --workdir runs/cl4ac_2021 --init runs/cnn10
    adiff evaluate runs/cl4ac_2021 --split test --decode beam:2,stops=each

What stays ours: the best checkpoint is selected on validation (theirs on test), an epoch draws a
caption of each clip five times instead of going through them, the end token has an id of its own,
and the clips are encoded once. Never trained by us.
"""

from dataclasses import replace

from adiff_jax.experiment import Experiment
from adiff_jax.matching import EpochCaption, Matching
from adiff_jax.train.optim import Steps

from .cl4ac import get_config as ours

EPOCH = 1495  # steps: 4,784 clips of 5 captions, 16 at a time
CAPTIONS = 23_920


def get_config() -> Experiment:
    """`cl4ac` with the published code's conventions, in float32."""
    base = ours()
    matching = Matching(EpochCaption(rows=CAPTIONS))
    schedule = Steps(
        boundaries=(EPOCH, 2 * EPOCH, 3 * EPOCH, 4 * EPOCH, 14 * EPOCH, 24 * EPOCH),
        factors=(2.0, 3 / 2, 4 / 3, 5 / 4, 0.1, 0.1),
    )
    optimizer = replace(base.train.optimizer, learning_rate=1e-4, schedule=schedule)
    return replace(
        base,
        name="cl4ac_2021",
        model=replace(base.model, matching=matching, compat="cl4ac-2021", compute="float32"),
        train=replace(base.train, optimizer=optimizer),
    )
