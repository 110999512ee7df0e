"""ADC-SDD at the paper's scale on AudioDiffCaps, for users who own its audio.

    adiff data audiodiffcaps --audio AUDIO --train rain_dev.csv --validation rain_val.csv \
        --test rain_eval.csv --out tables/audiodiffcaps_rain
    adiff train configs/adc_sdd.py --workdir runs/adc_sdd
    adiff evaluate runs/adc_sdd --split test --decode beam:4

The paper's sizes and rates are not all known to us: widths, layers and λ are recollections, the
optimiser's numbers ours (`docs/architecture.md`, "What is the paper's"). The encoder's `mean` and
`std` are guesses too: set them to what `adiff data statistics` measures on your training clips.
Hold back a tenth of the development rows as `rain_val.csv`. Never trained by us: hardware, cost and
score are unknown.
"""

from adiff_jax.audio.augment import SpecAugment
from adiff_jax.data.builders.table_source import Table
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split
from adiff_jax.models.adc import Adc
from adiff_jax.models.byola import ByolA
from adiff_jax.models.cac import DifferenceEncoder
from adiff_jax.models.features import Augment
from adiff_jax.models.sdd import Disentanglement
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine

TABLES = "tables/audiodiffcaps_rain"


def get_config() -> Experiment:
    """BYOL-A of width 2048, CAC and late SDD of width 768, 100 epochs of 3,000 pairs."""
    return Experiment(
        name="adc_sdd",
        model=Adc(
            encoder=ByolA(width=2048),
            comparison=DifferenceEncoder(mask="cac", width=768, hidden=512),
            sdd=Disentanglement(stage="late", weight=1.0),
            decoder=TextDecoder(width=768, hidden=512),
            vocab_size=1024,
            augment=Augment(spec=SpecAugment()),
            compute="bfloat16",
        ),
        label_smoothing=0.0,
        data=Data(
            train=Table(TABLES, "train"),
            validation=Table(TABLES, "validation"),
            test=(Split("test", Table(TABLES, "test")),),
            encode=EncodeConfig(seconds=10.0, max_tokens=32),
            loader=LoaderConfig(threads=8, prefetch=8),
        ),
        train=TrainConfig(
            steps=4700,
            global_batch=64,
            eval_every=470,
            save_every=470,
            best_metric="validation/token_accuracy",
            optimizer=Optimizer(
                learning_rate=1e-4,
                schedule=WarmupCosine(warmup=200),
                clip_norm=1.0,
                multipliers=(("encoder/.*", 0.1),),
            ),
        ),
        evaluation=Evaluation(batch=64, decode="beam:4"),
    )
