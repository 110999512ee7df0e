"""Stage 1 of ADIFF in small: HTSAT as a tagger of ESC-10 mixes, at 32 kHz.

    adiff train configs/htsat_esc10_tagging.py --workdir runs/htsat_esc10_tagging
    adiff evaluate runs/htsat_esc10_tagging --split fold4

Recordings of ESC-10 are looked for in `esc10` here, then in `$ADIFF_DATA/esc10`: folds 1 to 3 less
a quarter of their original recordings for training, that quarter for validation, fold 4 for test.

Two CPU cores: TODO minutes. Validation mAP TODO.
"""

from dataclasses import replace

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

# A few minutes from scratch are too short a training to leave blocks out.
ENCODER = replace(HTSAT_SMALL, stochastic_depth=0.0)


def get_config() -> Experiment:
    """The tagger; its encoder and head start the small ADIFF."""
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
            steps=1000,
            global_batch=32,
            eval_every=200,
            save_every=200,
            best_metric="validation/mAP",
            optimizer=Optimizer(
                learning_rate=1e-3, schedule=WarmupCosine(warmup=100), clip_norm=1.0
            ),
        ),
        evaluation=Evaluation(batch=32),
    )
