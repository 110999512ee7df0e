"""A very small ADIFF, and batches for it of audio and of cached embeddings."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch, Output
from adiff_jax.audio.frontends import Decibel, LogMel
from adiff_jax.models.adiff import Adiff, AdiffModel
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.prefix import CrossProjection, Mappers, Projection
from adiff_jax.models.tagger import Tagger
from adiff_jax.objectives import Captioning
from tests.models.toys import drawn
from tests.quick import quick_jit

SAMPLES = 4000
PROMPT = 5
TOKENS = 7
VOCABULARY = 24
CLASSES = 3

HTSAT = Htsat(
    frontend=LogMel(rate=8000, window=256, hop=64, mels=16, fmin=50.0, fmax=4000.0, log=Decibel()),
    width=8,
    depths=(1, 1),
    heads=(2, 4),
    window=4,
    chunks=2,
    columns=32,
)
ADIFF = Adiff(
    clips=Tagger(encoder=HTSAT, classes=CLASSES),
    projection=Projection(width=12),
    mappers=Mappers(tokens=3, audio_layers=1, text_layers=1, heads=2),
    cross=CrossProjection(layers=1, heads=2),
    lm=Gpt2(layers=2, heads=2, width=16, positions=32, vocab_size=VOCABULARY),
    separator_id=2,
)


def text_fields(rows: int, seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    lengths, prompts = rng.integers(2, TOKENS + 1, (rows, 1)), rng.integers(2, PROMPT, (rows, 1))
    return {
        "valid": jnp.ones(rows, bool),
        "example_id": jnp.arange(rows, dtype=jnp.int32),
        "scene_id": jnp.arange(rows, dtype=jnp.int32) + 100,
        "changed": jnp.ones(rows, bool),
        "prompt": jnp.asarray(rng.integers(3, VOCABULARY, (rows, PROMPT)), jnp.int32),
        "prompt_mask": jnp.asarray(np.arange(PROMPT)[None] < prompts),
        "tokens": jnp.asarray(rng.integers(3, VOCABULARY, (rows, TOKENS)), jnp.int32),
        "tokens_mask": jnp.asarray(np.arange(TOKENS)[None] < lengths),
    }


def audio_batch(rows: int = 4, seed: int = 0) -> Batch:
    """Noise that fills the window."""
    rng = np.random.default_rng(seed)
    audio = jnp.asarray(rng.standard_normal((2, rows, SAMPLES)), jnp.float32)
    lengths = jnp.full(rows, SAMPLES, jnp.int32)
    return Batch(
        audio_1=audio[0],
        audio_2=audio[1] * 0.1,
        length_1=lengths,
        length_2=lengths,
        **text_fields(rows, seed),
    )


def embedding_batch(rows: int = 4, seed: int = 0) -> Batch:
    """Cached embeddings."""
    rng = np.random.default_rng(seed)
    width = HTSAT.embedding_width
    features = jnp.asarray(rng.standard_normal((2, rows, 1, width)), jnp.float32)
    return Batch(
        features_1=features[0],
        features_2=features[1],
        length_1=jnp.ones(rows, jnp.int32),
        length_2=jnp.ones(rows, jnp.int32),
        **text_fields(rows, seed),
    )


@cache
def fresh(adiff: Adiff = ADIFF) -> dict[str, Any]:
    """Variables of `adiff`, the same for audio and for cached embeddings."""
    shapes = jax.eval_shape(Captioning(adiff).init, jax.random.key(0), embedding_batch())
    return drawn(shapes)


@cache
def forward(adiff: Adiff) -> Callable[..., Output]:
    """Teacher forcing in evaluation mode, compiled once per configuration and shape."""
    return quick_jit(AdiffModel(adiff).apply)


def logits_of(adiff: Adiff, batch: Batch, variables: dict[str, Any] | None = None) -> np.ndarray:
    """Teacher-forced logits in evaluation mode."""
    variables = fresh(adiff) if variables is None else variables
    return np.asarray(forward(adiff)(variables, batch).logits)
