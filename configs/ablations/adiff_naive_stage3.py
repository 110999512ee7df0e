"""The naive baseline on ESC-10, stage 3; `adiff_naive.py` has all commands."""

from dataclasses import replace

from adiff_jax.experiment import Experiment

from ..adiff_esc10_stage3 import get_config as tuning


def get_config() -> Experiment:
    """Stage 3 without cross-projection."""
    base = tuning()
    return replace(base, name="adiff_naive_stage3", model=replace(base.model, cross=None))
