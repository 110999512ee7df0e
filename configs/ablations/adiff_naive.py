"""The naive baseline on ESC-10, stage 2: neither separator nor cross-projection.

    adiff train configs/ablations/adiff_naive.py --init runs/byola_tagging \\
        --init runs/adiff_esc10_text
    adiff train configs/ablations/adiff_naive_stage3.py --init runs/adiff_naive
    adiff evaluate runs/adiff_naive_stage3
    adiff compare runs/adiff_esc10_stage3/predictions/single_tier1.jsonl \\
        runs/adiff_naive_stage3/predictions/single_tier1.jsonl

Data, steps and rows a step are those of `adiff_esc10_stage2.py`.
"""

from dataclasses import replace

from adiff_jax.experiment import Experiment

from ..adiff_esc10_stage2 import get_config as grounding


def get_config() -> Experiment:
    """Stage 2 with the mappers' vectors one after the other as the prefix."""
    base = grounding()
    return replace(base, name="adiff_naive", model=replace(base.model, cross=None))
