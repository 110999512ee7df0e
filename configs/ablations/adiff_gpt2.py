"""GPT-2 as the language model of the small stage 2, with prefix parts of published size: the first
cell of adiff_gpt2_size.py, and what the others differ from.

    adiff convert gpt2 path/of/gpt2 runs/gpt2_base
"""

from dataclasses import replace

from adiff_jax.data.gpt2_vocabulary import Gpt2Vocabulary
from adiff_jax.experiment import Experiment
from adiff_jax.models.adiff import Adiff

from . import adiff


def get_config() -> Experiment:
    base = adiff.get_config()
    encode = replace(base.data.encode, prompt_tokens=40)
    data = replace(base.data, tokenizer=Gpt2Vocabulary(), encode=encode)
    start = (adiff.CLIPS, replace(adiff.TEXT, run="runs/gpt2_base"))
    model = Adiff(base.model.clips, compute="bfloat16")
    return replace(base, model=model, data=data, start=start)
