"""What the grids start from: `adc_esc10` on cached features, cheap enough for many seeds.

The features are of unaugmented clips, so that these models train without SpecAugment.
"""

from dataclasses import replace

from adiff_jax.ablate import Cell as Cell
from adiff_jax.ablate import Grid as Grid
from adiff_jax.experiment import Experiment

from ..adc_esc10 import get_config as published


def shorter(base: Experiment) -> Experiment:
    """20,480 examples, each seen once, by an encoder that learns no more."""
    data = replace(base.data, train=replace(base.data.train, size=20_480))
    optimizer = replace(base.train.optimizer, multipliers=())
    train = replace(base.train, steps=640, eval_every=320, optimizer=optimizer)
    return replace(base, data=data, train=train)


def get_config() -> Experiment:
    return shorter(published())
