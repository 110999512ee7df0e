"""A very small CL4AC, and batches for it of audio and of cached features."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.matching import InBatch, Matching
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.objectives import Captioning
from tests.models import toys
from tests.models.toys import FRAMES, VOCABULARY, WIDTH, text_fields

CL4AC = Cl4ac(
    encoder=StridedByolA(width=WIDTH, filters=(4, 4, 8), dropout=0.0),
    bridge=WIDTH,
    bridge_dropout=0.0,
    decoder=TextDecoder(layers=2, width=WIDTH, heads=2, hidden=32, dropout=0.0),
    matching=Matching(),
    vocab_size=VOCABULARY,
)
IN_BATCH = replace(CL4AC, matching=Matching(InBatch()))


def identities(rows: int) -> dict[str, jax.Array]:
    """Rows that differ in everything but what is asked."""
    number = jnp.arange(rows, dtype=jnp.int32)
    return {
        "content_id": number + 200,
        "source_id": number + 300,
        "text_id": number + 400,
        "question_id": jnp.zeros(rows, jnp.int32),
    }


def negatives(rows: int, seed: int = 5) -> dict[str, jax.Array]:
    """Other sentences, none of them true."""
    text = text_fields(rows, seed)
    return {
        "negative": text["tokens"],
        "negative_mask": text["tokens_mask"],
        "negative_true": jnp.zeros(rows, bool),
    }


def clip_features(rows: int = 4, seed: int = 0) -> Batch:
    """Cached features of single clips of several lengths, with negatives."""
    pairs = toys.feature_batch(rows, seed)
    given = {**identities(rows), **negatives(rows, seed + 5)}
    return replace(pairs, features_2=None, length_2=None, **given)


def clip_audio(rows: int = 4, seed: int = 0) -> Batch:
    """Noise of several lengths, with negatives."""
    pairs = toys.audio_batch(rows, seed)
    given = {**identities(rows), **negatives(rows, seed + 5)}
    return replace(pairs, audio_2=None, length_2=None, **given)


@cache
def fresh_cl4ac(config: Cl4ac, audio: bool = False) -> dict[str, Any]:
    """Variables of `config` for a kind of batch."""
    batch = clip_audio() if audio else clip_features()
    return toys.drawn(jax.eval_shape(Captioning(config).init, jax.random.key(0), batch))


def longer(batch: Batch, frames: int = 3) -> Batch:
    """The same cached features with noise past their ends."""
    shape = (batch.features_1.shape[0], frames, WIDTH)
    noise = jnp.asarray(np.random.default_rng(9).standard_normal(shape), jnp.float32)
    within = jnp.arange(FRAMES)[None, :, None] < batch.length_1[:, None, None]
    kept = jnp.where(within, batch.features_1, noise[:, :1])
    return replace(batch, features_1=jnp.concatenate([kept, noise], axis=1))
