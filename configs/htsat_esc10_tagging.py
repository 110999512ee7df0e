"""Stage 1 of ADIFF in small: HTSAT as a tagger of ESC-10 mixes, at 32 kHz.

    adiff train configs/htsat_esc10_tagging.py --workdir runs/htsat_esc10_tagging
    adiff evaluate runs/htsat_esc10_tagging --split fold4

Recordings of ESC-10 are looked for in `esc10` here, then in `$ADIFF_DATA/esc10`: folds 1 to 3 less
a quarter of their original recordings for training, that quarter for validation, fold 4 for test.

Two CPU cores: 1.05 CPU seconds a step; 24 minutes beside other work, 2026-11-21. Validation mAP
.51, .57, .70, .75, .75 and .76 after 250, 500, ... 1500 steps, where `byola_tagging.py` has .85
after 1000 in 9 minutes: the small ADIFF hears with that one (`adiff_esc10.py`).
"""

from dataclasses import replace

from adiff_jax.audio.augment import SpecAugment
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.sources import LabelledMixes
from adiff_jax.data.synth.library import Folder
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split
from adiff_jax.models.htsat import HTSAT_SMALL
from adiff_jax.models.tagger import Tagger
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine

RATE = HTSAT_SMALL.frontend.rate
TRAIN = Folder("esc10", folds=(1, 2, 3), holdout="train")
VALIDATION = Folder("esc10", folds=(1, 2, 3), holdout="validation")
TEST = Folder("esc10", folds=(4,))

# So short a training from scratch fits new mixes of the training recordings no better than those of
# the others: what would keep it from fitting them too well only slows it.
UNMASKED = SpecAugment(time_stripes=0, mel_stripes=0)
ENCODER = replace(HTSAT_SMALL, stochastic_depth=0.0, augment=UNMASKED)


def get_config() -> Experiment:
    """The tagger; as `Adiff.clips` its encoder and head would be the paper's, in small."""
    return Experiment(
        name="htsat_esc10_tagging",
        model=Tagger(encoder=ENCODER, classes=10),
        data=Data(
            train=LabelledMixes(TRAIN, split="train", size=1_000_000, rate=RATE),
            validation=LabelledMixes(VALIDATION, split="validation", size=320, rate=RATE),
            test=(Split("fold4", LabelledMixes(TEST, split="test", size=1200, rate=RATE)),),
            encode=EncodeConfig(seconds=10.0, rate=RATE),
            loader=LoaderConfig(workers=1),
        ),
        train=TrainConfig(
            steps=1500,
            global_batch=32,
            eval_every=250,
            save_every=250,
            best_metric="validation/mAP",
            optimizer=Optimizer(
                learning_rate=2e-3, schedule=WarmupCosine(warmup=100), clip_norm=1.0
            ),
        ),
        evaluation=Evaluation(batch=32),
    )
