"""A very small ADC-SDD, and batches for it of audio and of cached features."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch, Output
from adiff_jax.models.adc import Adc, AdcModel
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.cac import DifferenceEncoder
from adiff_jax.models.sdd import Disentanglement
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.objectives import Captioning
from tests.quick import quick_jit

WIDTH = 16
FRAMES = 6  # of cached features
SAMPLES = 12_800  # 41 frames of log-mel, 5 of the encoder
TOKENS = 7
VOCABULARY = 24

ADC = Adc(
    encoder=StridedByolA(width=WIDTH, filters=(4, 4, 8), dropout=0.0),
    comparison=DifferenceEncoder(width=WIDTH, heads=2, hidden=32, dropout=0.0),
    sdd=Disentanglement(stage="off"),
    decoder=TextDecoder(width=WIDTH, heads=2, hidden=32, dropout=0.0),
    vocab_size=VOCABULARY,
)


def with_sdd(adc: Adc = ADC, **settings: Any) -> Adc:
    return replace(adc, sdd=Disentanglement(**settings))


def text_fields(rows: int, seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, TOKENS + 1, (rows, 1))
    return {
        "valid": jnp.ones(rows, bool),
        "example_id": jnp.arange(rows, dtype=jnp.int32),
        "scene_id": jnp.arange(rows, dtype=jnp.int32) + 100,
        "changed": jnp.ones(rows, bool),
        "tokens": jnp.asarray(rng.integers(3, VOCABULARY, (rows, TOKENS)), jnp.int32),
        "tokens_mask": jnp.asarray(np.arange(TOKENS)[None] < lengths),
    }


def feature_batch(rows: int = 4, seed: int = 0) -> Batch:
    """Cached features of several lengths."""
    rng = np.random.default_rng(seed)
    return Batch(
        features_1=jnp.asarray(rng.standard_normal((rows, FRAMES, WIDTH)), jnp.float32),
        features_2=jnp.asarray(rng.standard_normal((rows, FRAMES, WIDTH)), jnp.float32),
        length_1=jnp.asarray(FRAMES - np.arange(rows) % 3, jnp.int32),
        length_2=jnp.asarray(FRAMES - np.arange(rows) % 2, jnp.int32),
        **text_fields(rows, seed),
    )


def audio_batch(rows: int = 4, seed: int = 0) -> Batch:
    """Noise of several lengths, zeros after them."""
    rng = np.random.default_rng(seed)
    lengths = SAMPLES - 2560 * (np.arange(2 * rows).reshape(2, rows) % 3)
    inside = np.arange(SAMPLES) < lengths[..., None]
    audio = jnp.asarray(np.where(inside, rng.standard_normal((2, rows, SAMPLES)), 0), jnp.float32)
    return Batch(
        audio_1=audio[0],
        audio_2=audio[1],
        length_1=jnp.asarray(lengths[0], jnp.int32),
        length_2=jnp.asarray(lengths[1], jnp.int32),
        **text_fields(rows, seed),
    )


def swapped(batch: Batch) -> Batch:
    """The clips in the other order."""
    names = ("audio", "features", "length")
    return batch.replace(
        **{f"{name}_{k}": getattr(batch, f"{name}_{3 - k}") for name in names for k in (1, 2)}
    )


def rows_of(batch: Any, rows: slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], batch)


def _value(path: tuple, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    name = path[-1].key
    noise = rng.standard_normal(shape)
    if name in ("scale", "var"):
        return 1 + 0.1 * np.abs(noise)
    if "bias" in name or name == "mean":
        return 0.1 * noise
    return noise * np.prod(shape[:-1]) ** -0.5


def drawn(shapes: dict[str, Any]) -> dict[str, Any]:
    """Variables of these shapes: kernels keep the size of what passes, nothing is zero or one.

    Drawn by numpy, because compiling an `init` takes seconds.
    """
    rng = np.random.default_rng(1)
    with jax.ensure_compile_time_eval():  # values, also where a program is being traced
        return jax.tree.map_with_path(
            lambda path, leaf: jnp.asarray(_value(path, leaf.shape, rng), leaf.dtype), shapes
        )


@cache
def fresh(adc: Adc, audio: bool = False) -> dict[str, Any]:
    """Variables of `adc` for a kind of batch."""
    batch = audio_batch() if audio else feature_batch()
    return drawn(jax.eval_shape(Captioning(adc).init, jax.random.key(0), batch))


@cache
def forward(adc: Adc) -> Callable[..., Output]:
    """Teacher forcing in evaluation mode, compiled once per configuration and shape."""
    return quick_jit(AdcModel(adc).apply)


def logits_of(adc: Adc, batch: Batch, variables: dict[str, Any] | None = None) -> np.ndarray:
    """Teacher-forced logits in evaluation mode."""
    if variables is None:
        variables = fresh(adc, batch.audio_1 is not None)
    return np.asarray(forward(adc)(variables, batch).logits)
