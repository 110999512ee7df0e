"""GPT-2 base, medium, large and XL as the frozen language model, with prefix parts of published
size on the same embeddings. For an accelerator; never run by us, its cost is not known.

    adiff convert gpt2 path/of/gpt2-medium runs/gpt2_medium       and so on
    adiff ablate configs/ablations/adiff_gpt2_size.py --cell 0/12
"""

from dataclasses import replace

from adiff_jax.data.gpt2_vocabulary import Gpt2Vocabulary
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.gpt2 import GPT2_BASE, GPT2_LARGE, GPT2_MEDIUM, GPT2_XL

from .adiff import CLIPS, TEXT, Grid, get_config, grid


def get_grid() -> Grid:
    base, cells = get_config(), {}
    encode = replace(base.data.encode, prompt_tokens=40)
    data = replace(base.data, tokenizer=Gpt2Vocabulary(), encode=encode)
    sizes = {"base": GPT2_BASE, "medium": GPT2_MEDIUM, "large": GPT2_LARGE, "xl": GPT2_XL}
    for size, lm in sizes.items():
        model = Adiff(base.model.clips, lm=lm, compute="bfloat16")
        start = (CLIPS, replace(TEXT, run=f"runs/gpt2_{size}"))
        cells[size] = replace(base, model=model, data=data, start=start)
    return grid("adiff_gpt2_size", cells)
