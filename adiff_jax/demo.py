"""`adiff demo`: the whole loop on procedural audio, from nothing to sentences, in minutes.

Synthesise pairs, train, evaluate on sounds whose generator settings training never used, explain
three of them, print the scores beside the baselines. Its experiment is below, so that it runs from
an installed package too.
"""

from typing import Any

from etils import epath
from tqdm import tqdm

from adiff_jax import answer, run
from adiff_jax.audio.augment import SpecAugment
from adiff_jax.audio.frontends import LogMel
from adiff_jax.audio.io import write_audio
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.schema import Truth
from adiff_jax.data.sources import SynthPairs
from adiff_jax.data.synth.edits import Recipe
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import Data, Evaluation, Experiment, Split
from adiff_jax.models.adc import Adc
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.cac import DifferenceEncoder
from adiff_jax.models.features import Augment
from adiff_jax.models.sdd import Disentanglement
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.opened import open_data
from adiff_jax.train.loop import TrainConfig
from adiff_jax.train.optim import Optimizer, WarmupCosine

SECONDS = 5.0
RECIPE = Recipe(duration=SECONDS, event_seconds=(2.0, 3.0), snr_db=(5.0, 15.0), balance=True)


EXPLAINED = (1, 2, 5)
"""Held-out pairs that are written as files and explained."""


def get_config() -> Experiment:
    """A small ADC with full attention and difference features on five-second procedural scenes."""
    train = SynthPairs(Procedural("train"), RECIPE, size=100_000)
    # Recordings of its own from the ranges of training: what is held out selects nothing.
    validation = SynthPairs(
        Procedural("train", seed=1), RECIPE, split="validation", size=96, seed=2
    )
    heldout = SynthPairs(Procedural("heldout"), RECIPE, split="heldout", size=400, seed=1)
    return Experiment(
        name="demo",
        model=Adc(
            encoder=StridedByolA(
                frontend=LogMel(hop=320), filters=(16, 32, 64), channels=2, mean=-4.8, std=2.1
            ),
            comparison=DifferenceEncoder(mask="none", width=128, hidden=256),
            sdd=Disentanglement(stage="off"),
            decoder=TextDecoder(width=128, hidden=256),
            vocab_size=128,
            augment=Augment(spec=SpecAugment(2, 16, 2, 8)),
            difference_channel=True,
            difference_tokens=4,
        ),
        data=Data(
            train=train,
            validation=validation,
            test=(Split("heldout", heldout),),
            encode=EncodeConfig(seconds=SECONDS, max_tokens=16),
            loader=LoaderConfig(workers=1),
        ),
        train=TrainConfig(
            steps=480,
            global_batch=32,
            eval_every=240,
            save_every=240,
            best_metric="validation/program.exact",
            optimizer=Optimizer(
                learning_rate=2e-3, schedule=WarmupCosine(warmup=50), clip_norm=2.0
            ),
        ),
        evaluation=Evaluation(batch=40),
    )


def demo(workdir: epath.PathLike) -> dict[str, Any]:
    """Train (or go on training), evaluate and explain; returns the scores."""
    experiment = get_config()
    directory = run.train(experiment, workdir)
    trained = run.load_trained(directory.path)
    metrics = answer.answer(trained, "heldout", answer.Answering())
    explain_three(trained, directory)
    return metrics


def example_folder(workdir: epath.PathLike, index: int) -> epath.Path:
    """Where the clips of an explained pair lie: `before.wav` and `after.wav`."""
    return epath.Path(workdir) / "examples" / f"{index:03d}"


def explain_three(trained: run.Trained, directory: RunDirectory) -> None:
    """Write three held-out pairs as WAV files and print what the model says of them."""
    from adiff_jax.api import Explainer

    source = open_data(trained.parts.experiment.split("heldout"))
    explainer = Explainer(trained)
    for index in EXPLAINED:
        example = source[index]
        folder = example_folder(directory.path, index)
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / "before.wav", folder / "after.wav"
        for path, wave in zip(paths, example.waves, strict=True):
            write_audio(path, wave, example.rate)
        said = explainer(*paths, decode="beam:4")
        truth: Truth = source.truth(index)
        tqdm.write(f"{folder}\n  said:  {said.text}\n  truth: {truth.references[0]}")
