"""A real training that a test kills: `python -m tests.top.train_adc RUN`."""

import sys
from dataclasses import replace

from adiff_jax import run
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.experiment import Experiment
from adiff_jax.models.sdd import Disentanglement
from tests.top import tiny_run

STEPS = 12


def experiment() -> Experiment:
    """The tiny ADC with late SDD, its pairs rendered by a worker process."""
    adc = tiny_run.adc("unused")
    return replace(
        adc,
        model=replace(adc.model, sdd=Disentanglement(stage="late")),
        data=replace(adc.data, loader=LoaderConfig(workers=1)),
        train=replace(adc.train, steps=STEPS, eval_every=4, save_every=2),
        start=(),
    )


if __name__ == "__main__":
    run.train(experiment(), sys.argv[1])
