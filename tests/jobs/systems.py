"""The three systems, small, with test splits of sizes that divide nothing."""

from collections.abc import Callable
from dataclasses import replace

from adiff_jax.experiment import DataConfig, Experiment, Split
from adiff_jax.matching import Matching, SwappedOrder
from adiff_jax.models.sdd import Disentanglement
from tests.top import tiny_adiff, tiny_run

SIZES = (1, 7, 8, 9, 33)
STEPS = 6


def adc() -> Experiment:
    """With late SDD and the matching loss."""
    experiment = tiny_run.adc("unused")
    model = replace(
        experiment.model,
        encoder=replace(experiment.model.encoder, channels=1),
        difference_channel=False,
        sdd=Disentanglement(stage="late"),
        matching=Matching(SwappedOrder()),
    )
    return _tested(replace(experiment, model=model, start=()), tiny_run.pairs)


def adiff() -> Experiment:
    """With prompts, and a language model that is trained."""
    return _tested(tiny_adiff.adiff(), tiny_adiff.explanations)


def cl4ac() -> Experiment:
    """With vectors of the words and the matching loss."""
    return _tested(tiny_run.cl4ac(), tiny_run.captioned)


def _tested(experiment: Experiment, source: Callable[[str, int], DataConfig]) -> Experiment:
    splits = tuple(Split(f"of_{size}", source("test", size)) for size in SIZES)
    return replace(
        experiment,
        name="job",
        data=replace(experiment.data, test=splits),
        train=replace(experiment.train, steps=STEPS, eval_every=3, save_every=2, log_every=1),
    )
