"""CL4AC in small on ESC-10: captions of single scenes, a BYOL-A encoder started as a tagger.

    adiff train configs/byola_tagging.py --workdir runs/byola_tagging
    adiff train configs/cl4ac_esc10.py --workdir runs/cl4ac_esc10
    adiff evaluate runs/cl4ac_esc10 --split fold4
    adiff explain runs/cl4ac_esc10 street.wav

Scenes of 10 s with up to three events over rain or sea waves, captioned by our grammar; the test
split is of unseen recordings, in wordings that training never showed.

Two CPU cores: 33 minutes, with other work beside it, after the tagger's 9. `fold4`, greedy: event
F1 72, background 95. More in docs/results.md.
"""

from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.sources import CaptionedMixes
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split, StartFrom
from adiff_jax.matching import Matching
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine

from .byola_tagging import AUGMENT, ENCODER, TEST, TRAIN, VALIDATION


def get_config() -> Experiment:
    """The small encoder fine-tuned under one decoder layer, captions of others as negatives."""
    test = CaptionedMixes(TEST, split="test", size=1200, templates="test")
    return Experiment(
        name="cl4ac_esc10",
        model=Cl4ac(
            encoder=ENCODER,
            bridge=256,
            bridge_dropout=0.1,
            decoder=TextDecoder(width=256, hidden=512),
            matching=Matching(),
            vocab_size=128,
            augment=AUGMENT,
        ),
        data=Data(
            train=CaptionedMixes(TRAIN, split="train", size=1_000_000),
            validation=CaptionedMixes(VALIDATION, split="validation", size=256),
            test=(Split("fold4", test),),
            encode=EncodeConfig(seconds=10.0, max_tokens=32),
            loader=LoaderConfig(workers=1),
        ),
        train=TrainConfig(
            steps=1500,
            global_batch=32,
            eval_every=500,
            save_every=500,
            best_metric="validation/sounds.events.f1",
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
