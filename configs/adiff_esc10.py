"""ADIFF in small on ESC-10 pairs: the model and data that its stages share.

The stages are files of their own, each started from what the ones before it have trained; see
`adiff_esc10_stage3.py` for all commands. The embedding cache is made of this file's pairs:

    adiff data embed configs/adiff_esc10.py --encoder runs/byola_tagging \\
        --out runs/adiff_esc10_embeddings/train

As it stands it is the model on audio in one stage, nothing frozen but the encoder, which then hears
every pair anew (`adiff train configs/adiff_esc10.py --init runs/byola_tagging`).

The clips are heard by the small BYOL-A of `byola_tagging.py`, not by an HTSAT as in the paper: of
three hundred recordings a transformer learns less in the same time (`htsat_esc10_tagging.py`).

Each pair of clips is explained in three tiers, worded by templates of which the test sets know
none; a fifth of the rows ask for captions of the clips instead. Learning rates and sizes are ours.
"""

from dataclasses import replace

from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.sources import Explanations, RecipeFile, SynthPairs
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.tokenizers import BytePairs
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split
from adiff_jax.models.adiff import ADIFF_SMALL
from adiff_jax.models.tagger import Tagger
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine

from .byola_tagging import ENCODER, TRAIN, VALIDATION

RATE = ENCODER.frontend.rate
MODEL = replace(ADIFF_SMALL, clips=Tagger(encoder=ENCODER, classes=10), freeze_lm=False)
TIERS = (1, 2, 3)
PAIRS = SynthPairs(TRAIN, Recipe(balance=True), size=12_000, rate=RATE)
HELD_OUT = SynthPairs(VALIDATION, Recipe(balance=True), "validation", size=128, rate=RATE)

# From the root of the repository, as `runs/` is. Recipe files are explained in unseen templates.
TESTS = tuple(
    Split(
        f"{name}_tier{tier}",
        Explanations(RecipeFile(f"configs/recipes/esc10_{name}.json", rate=RATE), (tier,)),
    )
    for name in ("single", "redraw")
    for tier in TIERS
)


def get_config() -> Experiment:
    """All three tiers and a fifth of captions, on audio."""
    return Experiment(
        name="adiff_esc10",
        model=MODEL,
        label_smoothing=0.0,
        data=Data(
            train=Explanations(PAIRS, TIERS, captioning=0.2),
            validation=Explanations(HELD_OUT, (1,)),
            test=TESTS,
            encode=EncodeConfig(
                seconds=10.0,
                rate=RATE,
                short="tile",
                prompt_tokens=24,
                paraphrase=True,
                max_tokens=160,
                buckets=(48, 96, 160),
            ),
            loader=LoaderConfig(workers=1),
            tokenizer=BytePairs(1024),
        ),
        train=TrainConfig(
            steps=700,
            global_batch=32,
            eval_every=350,
            save_every=350,
            best_metric="validation/events.f1",
            optimizer=Optimizer(
                learning_rate=1e-3, schedule=WarmupCosine(warmup=100), clip_norm=1.0
            ),
        ),
        evaluation=Evaluation(batch=32),
    )
