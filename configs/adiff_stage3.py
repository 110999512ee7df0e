"""Stage 3 of ADIFF at the paper's scale, fine-tuning: GPT-2 learns too, at a small rate.

    adiff train configs/adiff_stage3.py --init runs/adiff_stage2
    adiff evaluate runs/adiff_stage3 --split acd_tier1

HTSAT stays frozen. `adiff_stage2.py` has the commands before these. The rate is ours.
"""

from dataclasses import replace

from adiff_jax.experiment import Experiment

from .adiff_stage2 import get_config as grounding


def get_config() -> Experiment:
    """Stage 2 with the language model trained, at a tenth of its rate."""
    base = grounding()
    optimizer = replace(base.train.optimizer, learning_rate=1e-5)
    return replace(
        base,
        name="adiff_stage3",
        model=replace(base.model, freeze_lm=False),
        train=replace(base.train, steps=10_000, optimizer=optimizer),
    )
