"""Stage 1: the small BYOL-A encoder as a tagger of ESC-10 mixes.

    adiff train configs/byola_tagging.py --workdir runs/byola_tagging
    adiff evaluate runs/byola_tagging --split fold4

Recordings of ESC-10 are looked for in `esc10` here, then in `$ADIFF_DATA/esc10`: folds 1 to 3 less
a quarter of their original recordings for training, that quarter for validation, fold 4 for test.

Two CPU cores: 9 minutes. Validation mAP .85.
"""

from adiff_jax.audio.augment import SpecAugment
from adiff_jax.audio.frontends import LogMel
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.sources import LabelledMixes
from adiff_jax.data.synth.library import Folder
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.features import Augment
from adiff_jax.models.tagger import Tagger
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine

TRAIN = Folder("esc10", folds=(1, 2, 3), holdout="train")
VALIDATION = Folder("esc10", folds=(1, 2, 3), holdout="validation")
TEST = Folder("esc10", folds=(4,))

# Mean and standard deviation are those of the log-mel of 120 training clips.
ENCODER = StridedByolA(frontend=LogMel(hop=320), mean=-4.8, std=2.1)
AUGMENT = Augment(spec=SpecAugment(time_stripes=2, time_width=32, mel_stripes=2, mel_width=8))


def get_config() -> Experiment:
    """The tagger; its encoder starts `adc_esc10` and `adc_esc10_plus`."""
    return Experiment(
        name="byola_tagging",
        model=Tagger(encoder=ENCODER, classes=10, augment=AUGMENT),
        data=Data(
            train=LabelledMixes(TRAIN, split="train", size=1_000_000),
            validation=LabelledMixes(VALIDATION, split="validation", size=320),
            test=(Split("fold4", LabelledMixes(TEST, split="test", size=1200)),),
            encode=EncodeConfig(seconds=10.0),
            loader=LoaderConfig(workers=1),
        ),
        train=TrainConfig(
            steps=1000,
            global_batch=32,
            eval_every=250,
            save_every=250,
            best_metric="validation/mAP",
            optimizer=Optimizer(
                learning_rate=1e-3, schedule=WarmupCosine(warmup=100), clip_norm=2.0
            ),
        ),
        evaluation=Evaluation(batch=32),
    )
