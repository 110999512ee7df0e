"""An ADIFF small enough to train in seconds, on procedural audio."""

from dataclasses import replace

from adiff_jax.audio.frontends import Decibel, LogMel
from adiff_jax.data.sources import Explanations
from adiff_jax.data.synth.library import open_library
from adiff_jax.data.tokenizers import BytePairs
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.prefix import CrossProjection, Mappers, Projection
from adiff_jax.models.tagger import Tagger
from adiff_jax.protocol import Variables
from tests.models.toys import drawn
from tests.top import tiny_run

RATE = 8000
TRAIN, VALIDATION, TEST = 16, 8, 10  # examples; the last batch of the test split has padding
VOCABULARY = 400

HTSAT = Htsat(
    frontend=LogMel(rate=RATE, window=256, hop=128, mels=16, fmin=50.0, fmax=4000.0, log=Decibel()),
    width=8,
    depths=(1,),
    heads=(2,),
    window=4,
    chunks=2,
    columns=32,
)
CLASSES = tuple(open_library(tiny_run.RECORDINGS, RATE).labels)
ENCODE = EncodeConfig(
    seconds=tiny_run.SECONDS, rate=RATE, max_tokens=48, short="tile", prompt_tokens=32
)


def explanations(split: str, size: int, seconds: float = tiny_run.SECONDS) -> Explanations:
    """Pairs explained in tier 1, each clip of so many seconds."""
    pairs = replace(tiny_run.pairs(split, size), rate=RATE)
    return Explanations(replace(pairs, recipe=replace(pairs.recipe, duration=seconds)), tiers=(1,))


def adiff() -> Experiment:
    """Its test splits hold clips as long as the window, and clips 2.5 times as long."""
    return Experiment(
        name="tiny_adiff",
        model=Adiff(
            clips=Tagger(encoder=HTSAT, classes=len(CLASSES)),
            projection=Projection(width=12),
            mappers=Mappers(tokens=3, audio_layers=1, text_layers=1, heads=2),
            cross=CrossProjection(layers=1, heads=2),
            lm=Gpt2(layers=1, heads=2, width=16, positions=64, vocab_size=VOCABULARY),
            separator_id=2,
            freeze_lm=False,
        ),
        data=Data(
            train=explanations("train", TRAIN),
            validation=explanations("validation", VALIDATION),
            test=(
                Split("pairs", explanations("test", TEST)),
                Split("long", explanations("test", TEST, 2.5 * tiny_run.SECONDS)),
            ),
            encode=ENCODE,
            tokenizer=BytePairs(VOCABULARY),
        ),
        train=replace(
            tiny_run.adc("").train,
            steps=4,
            best_metric="validation/loss/caption",
            best_mode="min",
        ),
        evaluation=Evaluation(batch=8),
    )


def attentive(variables: Variables) -> Variables:
    """Other weights of these shapes, of a model that listens; a few steps do not make one.

    Spectra are normalised by the mean and variance that they have, in decibels.
    """
    found = drawn(variables)
    statistics = found["batch_stats"]["clips"]["encoder"]["norm_0"]
    statistics["mean"], statistics["var"] = statistics["mean"] - 35, statistics["var"] * 36
    return found
