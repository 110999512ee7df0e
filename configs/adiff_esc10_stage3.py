"""Stage 3 of the small ADIFF on ESC-10, fine-tuning: the language model learns too. All commands:

    adiff train configs/byola_tagging.py --workdir runs/byola_tagging
    adiff data embed configs/adiff_esc10.py --encoder runs/byola_tagging \\
        --out runs/adiff_esc10_embeddings/train
    adiff train configs/adiff_esc10_text.py --workdir runs/adiff_esc10_text
    adiff train configs/adiff_esc10_stage2.py --init runs/byola_tagging \\
        --init runs/adiff_esc10_text
    adiff train configs/adiff_esc10_stage3.py --init runs/adiff_esc10_stage2
    adiff evaluate runs/adiff_esc10_stage3
"""

from dataclasses import replace

from adiff_jax.experiment import Experiment

from .adiff_esc10_stage2 import get_config as grounding


def get_config() -> Experiment:
    """Stage 2 with everything but the encoder trained, at half its rate."""
    base = grounding()
    optimizer = replace(base.train.optimizer, learning_rate=5e-4)
    return replace(
        base,
        name="adiff_esc10_stage3",
        model=replace(base.model, freeze_lm=False),
        train=replace(base.train, optimizer=optimizer),
    )
