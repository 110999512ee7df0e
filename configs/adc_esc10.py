"""ADC-SDD as published (CAC mask, late SDD), small preset, on pairs made of ESC-10 recordings.

    adiff train configs/byola_tagging.py --workdir runs/byola_tagging
    adiff train configs/adc_esc10.py --workdir runs/adc_esc10
    adiff evaluate runs/adc_esc10 --split single --decode beam:4

Splits `single`, `redraw`, `double`, `shift` and `natural` are the fixed test sets of
`configs/recipes/`, 1,200 pairs each over fold 4.

Two CPU cores: 29 minutes after the tagger's 9. `single`, greedy: operation 84, event 67, whole
program 71; beam of 4: 84, 67, 72. More in docs/results.md.
"""

from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.sources import RecipeFile, SynthPairs
from adiff_jax.data.synth.edits import Recipe
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split, StartFrom
from adiff_jax.models.adc import Adc
from adiff_jax.models.cac import DifferenceEncoder
from adiff_jax.models.sdd import Disentanglement
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine

from .byola_tagging import AUGMENT, ENCODER, TRAIN, VALIDATION

# From the root of the repository, as `runs/` is: a run then says the same on every machine.
TESTS = tuple(
    Split(name, RecipeFile(f"configs/recipes/esc10_{name}.json"))
    for name in ("single", "redraw", "double", "shift", "natural")
)


def get_config() -> Experiment:
    """CAC + late SDD, the encoder started as a tagger and fine-tuned with the rest."""
    return Experiment(
        name="adc_esc10",
        model=Adc(
            encoder=ENCODER,
            comparison=DifferenceEncoder(mask="cac", width=256, hidden=512),
            sdd=Disentanglement(stage="late", weight=0.5),
            decoder=TextDecoder(width=256, hidden=512),
            vocab_size=128,
            augment=AUGMENT,
        ),
        label_smoothing=0.05,
        data=Data(
            train=SynthPairs(TRAIN, Recipe(balance=True), size=1_000_000),
            validation=SynthPairs(VALIDATION, Recipe(balance=True), split="validation", size=256),
            test=TESTS,
            encode=EncodeConfig(seconds=10.0, max_tokens=16),
            loader=LoaderConfig(workers=1),
        ),
        train=TrainConfig(
            steps=1000,
            global_batch=32,
            eval_every=250,
            save_every=250,
            best_metric="validation/program.exact",
            optimizer=Optimizer(
                learning_rate=1e-3,
                schedule=WarmupCosine(warmup=100),
                clip_norm=2.0,
                multipliers=(("encoder/.*", 0.3),),  # it has been trained, the rest has not
            ),
        ),
        evaluation=Evaluation(batch=40),
        start=(StartFrom("runs/byola_tagging"),),
    )
