"""Stage 1 of ADIFF at the paper's scale: HTSAT as a tagger of AudioSet, for who owns its audio.

    adiff data missing configs/adiff_stage1.py --out missing.txt
    adiff train configs/adiff_stage1.py

Clips of AudioSet vanish from where they came from: `missing.txt` names those that you lack, and
has to be there, empty if need be. Its classes are named by `class_labels_indices.csv`, published
beside the tables.

Most will convert a published checkpoint instead: `adiff convert htsat FILE runs/adiff_stage1`. The
other half of stage 1, the language model, is GPT-2: `adiff convert gpt2 FOLDER runs/gpt2`.

Tables and audio of AudioSet are looked for here, then under ADIFF_DATA. The paper's rates, steps
and batch are not known: all of them are ours. Never trained by us: cost and score are unknown.
"""

from adiff_jax.data.labelled import LabelledClips
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.tagger import Tagger
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine


def _clips(table: str, folder: str) -> LabelledClips:
    return LabelledClips(
        f"audioset/{table}_segments.csv",
        f"audioset/{folder}",
        exclude="missing.txt",
        names="audioset/class_labels_indices.csv",
    )


TRAIN = _clips("unbalanced_train", "unbalanced_train")
VALIDATION = _clips("balanced_train", "balanced_train")
TEST = _clips("eval", "eval")


def get_config() -> Experiment:
    """The published size with its 527 classes."""
    return Experiment(
        name="adiff_stage1",
        model=Tagger(encoder=Htsat(), classes=527, compute="bfloat16"),
        data=Data(
            train=TRAIN,
            validation=VALIDATION,
            test=(Split("eval", TEST),),
            encode=EncodeConfig(seconds=10.0, rate=32_000, short="tile"),
            loader=LoaderConfig(threads=16, prefetch=16),
        ),
        train=TrainConfig(
            steps=400_000,
            global_batch=128,
            eval_every=10_000,
            save_every=10_000,
            best_metric="validation/mAP",
            optimizer=Optimizer(
                learning_rate=1e-3, schedule=WarmupCosine(warmup=2000), weight_decay=0.05
            ),
        ),
        evaluation=Evaluation(batch=256),
    )
