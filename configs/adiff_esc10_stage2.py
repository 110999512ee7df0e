"""Stage 2 of the small ADIFF on ESC-10, grounding: encoder and language model frozen.

    adiff train configs/adiff_esc10_stage2.py --init runs/byola_tagging \\
        --init runs/adiff_esc10_text

It learns on cached embeddings (`adiff_esc10.py` says how they are made), so the encoder costs
nothing here.
"""

from dataclasses import replace

from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.experiment import Experiment

from .adiff_esc10 import get_config as shared


def get_config() -> Experiment:
    """Projection, mappers and cross-projection learn to speak to the language model."""
    base = shared()
    return replace(
        base,
        name="adiff_esc10_stage2",
        model=replace(base.model, freeze_lm=True),
        data=replace(base.data, train=CachedEmbeddings("runs/adiff_esc10_embeddings/train")),
    )
