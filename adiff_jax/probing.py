"""What a prefix says: the nearest words of the vocabulary to each of its vectors.

ClipCap's way to look into a prefix (Mokady et al., 2021), used by ADIFF: a vector that lies near
the embedding of a word works like that word on the language model. Nearness is the cosine, so that
the length of a vector does not matter.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.data.tokenizers import Tokenizer
from adiff_jax.models.adiff import Adiff, AdiffModel
from adiff_jax.models.prefix import unit_length
from adiff_jax.protocol import Variables


@dataclass(frozen=True)
class Probe:
    """One vector of a prefix: which part it belongs to, and words with cosines, nearest first."""

    part: str  # "clip 1", "separator", "clip 2" or "prompt"
    words: tuple[tuple[str, float], ...]


def parts_of(config: Adiff) -> tuple[str, ...]:
    """The part that each vector of a prefix belongs to."""
    tokens = config.mappers.tokens
    between = ("separator",) if config.cross is not None else ()
    return (*["clip 1"] * tokens, *between, *["clip 2"] * tokens, *["prompt"] * tokens)


def probe(
    model: AdiffModel, variables: Variables, batch: Batch, tokenizer: Tokenizer, count: int
) -> list[list[Probe]]:
    """The `count` nearest words of every prefix vector, for each row of `batch`.

    Tokens that stand for no text are left out.
    """
    cosines, ids = _nearest(model, variables, batch, count, _silent(model.config, tokenizer))
    return [
        [
            Probe(
                part,
                tuple(
                    (tokenizer.decode([int(token)]), float(cosine))
                    for token, cosine in zip(tokens, near, strict=True)
                ),
            )
            for part, tokens, near in zip(parts_of(model.config), row, rows, strict=True)
        ]
        for row, rows in zip(np.asarray(ids), np.asarray(cosines), strict=True)
    ]


def _silent(config: Adiff, tokenizer: Tokenizer) -> tuple[int, ...]:
    return tokenizer.silent_ids(config.vocab_size)


@partial(jax.jit, static_argnames=("model", "count", "silent"))
def _nearest(
    model: AdiffModel, variables: Variables, batch: Batch, count: int, silent: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Cosines and ids [b s count]."""
    prefix = model.apply(variables, batch, method="encode").prefix  # type: ignore[union-attr]
    prefix, words = unit_length(prefix), unit_length(variables["params"]["lm"]["wte"])
    cosines = jnp.einsum("bsd,vd->bsv", prefix, words, precision=jax.lax.Precision.HIGHEST)
    cosines = cosines.at[:, :, jnp.asarray(silent, jnp.int32)].set(-jnp.inf)
    nearest, ids = jax.lax.top_k(cosines, count)
    return nearest, ids
