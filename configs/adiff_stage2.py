"""Stage 2 of ADIFF at the paper's scale, grounding: HTSAT and GPT-2 frozen, what joins them learns.

    adiff data explanations --audio AUDIOCAPS --train acd_train_*.csv --validation acd_val_*.csv \\
        --test acd_test_*.csv --out tables/acd
    adiff data explanations --audio CLOTHO --train cld_train_*.csv --validation cld_val_*.csv \\
        --test cld_eval_*.csv --out tables/cld
    adiff convert gpt2 GPT2_FOLDER runs/gpt2
    adiff train configs/adiff_stage2.py --init runs/adiff_stage1 --init runs/gpt2
    adiff train configs/adiff_stage3.py --init runs/adiff_stage2
    adiff evaluate runs/adiff_stage3 --split acd_tier1

ACD are pairs of AudioCaps, CLD pairs of Clotho; tier 3 of their test sets is not published.
With the encoder frozen, `adiff data embed configs/adiff_stage2.py
--encoder runs/adiff_stage1 --crops 8 --out CACHE` takes its share of a step away.

Learning rate, warm-up, steps and batch are ours: the paper's are not known, nor are the share of
position captioning and the prompts. Never trained by us: cost and score are unknown.
"""

from adiff_jax.data.builders.table_source import Table
from adiff_jax.data.gpt2_vocabulary import Gpt2Vocabulary
from adiff_jax.data.joined import Joined
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.sources import Explanations
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.tagger import Tagger
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine

TABLES = {"acd": "tables/acd", "cld": "tables/cld"}


def joined(split: str) -> Joined:
    """A split of both."""
    return Joined(tuple(Table(path, split) for path in TABLES.values()))


def get_config() -> Experiment:
    """The published base size on all three tiers of ACD and CLD."""
    return Experiment(
        name="adiff_stage2",
        model=Adiff(
            clips=Tagger(encoder=Htsat(), classes=527, compute="bfloat16"), compute="bfloat16"
        ),
        label_smoothing=0.0,
        data=Data(
            train=Explanations(joined("train"), captioning=0.2),
            validation=Explanations(joined("validation"), (1,)),
            test=tuple(
                Split(f"{name}_tier{tier}", Explanations(Table(path, "test"), (tier,)))
                for name, path in TABLES.items()
                for tier in (1, 2)
            ),
            encode=EncodeConfig(
                seconds=10.0,
                rate=32_000,
                short="tile",
                prompt_tokens=40,
                paraphrase=True,
                max_tokens=280,
                buckets=(64, 128, 280),
            ),
            loader=LoaderConfig(threads=16, prefetch=16),
            tokenizer=Gpt2Vocabulary(),
        ),
        train=TrainConfig(
            steps=30_000,
            global_batch=128,
            eval_every=1000,
            save_every=1000,
            best_metric="validation/loss/caption",
            best_mode="min",
            optimizer=Optimizer(learning_rate=1e-4, schedule=WarmupCosine(warmup=2000)),
        ),
        evaluation=Evaluation(batch=128),
    )
