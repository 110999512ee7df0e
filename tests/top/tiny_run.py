"""Experiments small enough to train in seconds, on procedural audio."""

from dataclasses import replace

from adiff_jax.audio.augment import SpecAugment
from adiff_jax.data.sources import CaptionedMixes, LabelledMixes, SynthPairs
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split, StartFrom
from adiff_jax.models.adc import Adc
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.cac import DifferenceEncoder
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.features import Augment
from adiff_jax.models.sdd import Disentanglement
from adiff_jax.models.tagger import Tagger
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.train.loop import TrainConfig
from adiff_jax.word_vectors import WordVectors

SECONDS = 1.0
WIDTH = 16
CLASSES = 8  # of the procedural recordings
TRAIN, VALIDATION, TEST = 24, 8, 12  # examples; the last batch of the test split has padding

RECORDINGS = Procedural(recordings_per_class=2)
RECIPE = Recipe(duration=SECONDS, event_seconds=(0.3, 0.6), balance=True)
ENCODER = StridedByolA(width=WIDTH, filters=(4, 4, 4))
AUGMENT = Augment(spec=SpecAugment(1, 4, 1, 4))
ENCODE = EncodeConfig(seconds=SECONDS, max_tokens=16)


def pairs(split: str, size: int) -> SynthPairs:
    return SynthPairs(RECORDINGS, RECIPE, split=split, size=size)


def mixes(split: str, size: int) -> LabelledMixes:
    return LabelledMixes(RECORDINGS, replace(RECIPE, balance=False), split=split, size=size)


def captioned(split: str, size: int) -> CaptionedMixes:
    return CaptionedMixes(RECORDINGS, replace(RECIPE, balance=False), split=split, size=size)


def cl4ac() -> Experiment:
    """Captions of single clips; vectors of the words."""
    return Experiment(
        name="tiny_cl4ac",
        model=Cl4ac(
            encoder=ENCODER,
            bridge=WIDTH,
            decoder=TextDecoder(width=WIDTH, heads=2, hidden=WIDTH),
            vocab_size=128,
            augment=AUGMENT,
        ),
        data=Data(
            train=captioned("train", TRAIN),
            validation=captioned("validation", VALIDATION),
            test=(Split("clips", captioned("test", TEST)),),
            encode=replace(ENCODE, max_tokens=40),
        ),
        train=TrainConfig(
            steps=4,
            global_batch=8,
            log_every=1,
            best_metric="validation/loss/caption",
            best_mode="min",
        ),
        evaluation=Evaluation(batch=8),
        word_vectors=WordVectors(epochs=1),
    )


def tagger() -> Experiment:
    """One input channel; it starts `adc`."""
    return Experiment(
        name="tiny_tagger",
        model=Tagger(encoder=ENCODER, classes=CLASSES, augment=AUGMENT),
        data=Data(
            train=mixes("train", TRAIN),
            validation=mixes("validation", VALIDATION),
            test=(Split("clips", mixes("test", TEST)),),
            encode=ENCODE,
        ),
        train=TrainConfig(
            steps=2, global_batch=8, log_every=1, save_every=1, best_metric="validation/mAP"
        ),
        evaluation=Evaluation(batch=8),
    )


def adc(tagger_run: str) -> Experiment:
    """The difference of the clips is a second input channel of a tagger's encoder."""
    return Experiment(
        name="tiny_adc",
        model=Adc(
            encoder=replace(ENCODER, channels=2),
            comparison=DifferenceEncoder(width=WIDTH, heads=2, hidden=WIDTH),
            sdd=Disentanglement(stage="off"),
            decoder=TextDecoder(width=WIDTH, heads=2, hidden=WIDTH),
            vocab_size=128,
            augment=AUGMENT,
            difference_channel=True,
        ),
        data=Data(
            train=pairs("train", TRAIN),
            validation=pairs("validation", VALIDATION),
            test=(Split("pairs", pairs("test", TEST)),),
            encode=ENCODE,
        ),
        train=TrainConfig(
            steps=4,
            global_batch=8,
            log_every=1,
            best_metric="validation/loss/caption",
            best_mode="min",
        ),
        evaluation=Evaluation(batch=8),
        start=(StartFrom(tagger_run, grow_channels=True),),
    )
