"""Stage 1 of the small ADIFF, texts: a small GPT-2 learns what is to be said, without any clip.

    adiff train configs/adiff_esc10_text.py --workdir runs/adiff_esc10_text

It reads the texts of the embedding cache (`adiff_esc10.py` says how that is made): texts of tiers
2 and 3 state what is measured on the audio, which there need not be made again.
"""

from dataclasses import replace

from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.experiment import Experiment
from adiff_jax.models.language_model import LanguageModel

from .adiff_esc10 import MODEL
from .adiff_esc10 import get_config as shared


def get_config() -> Experiment:
    """The language model of the small preset, and its vocabulary."""
    base = shared()
    train = replace(
        base.train,
        steps=500,
        eval_every=125,
        save_every=125,
        best_metric="validation/loss/language",
        best_mode="min",
    )
    return replace(
        base,
        name="adiff_esc10_text",
        model=LanguageModel(MODEL.lm, context=MODEL.prefix_length),
        data=replace(
            base.data,
            train=CachedEmbeddings("runs/adiff_esc10_embeddings/train"),
            test=(),
            encode=replace(base.data.encode, paraphrase=False),
        ),
        train=train,
    )
