"""Pairs with two fifths of captions for adiff_captioning.py, which says how they are embedded."""

from dataclasses import replace

from adiff_jax.experiment import Experiment

from ..adiff_esc10 import get_config as shared


def get_config() -> Experiment:
    base = shared()
    train = replace(base.data.train, captioning=0.4)
    return replace(base, data=replace(base.data, train=train))
