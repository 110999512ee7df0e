"""How alike the clips of each pair sound to a model's encoder, to score pairs by it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adiff_jax.arrays import Batch
from adiff_jax.data.schema import Source, Truth
from adiff_jax.evaluate.gather import gather_each
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.nn.recurrent import masked_mean
from adiff_jax.parallel.mesh import local_rows
from adiff_jax.parts import Parts
from adiff_jax.protocol import Variables


def hears_clips_alone(model: object) -> bool:
    """Whether the encoder of a model configuration hears each clip by itself, so that there are
    embeddings of clips to compare."""
    match model:
        case Adiff():
            return True
        case Adc(difference_channel=difference):
            return not difference
        case _:
            return False


def pair_similarity(
    parts: Parts, variables: Variables, source: Source, truths: Sequence[Truth]
) -> tuple[dict[str, float] | None, str]:
    """`clip_similarity` by id, or None and why not; for sources without explanations of tier 1 to
    3, whose scores are not told by it, None and "". `truths` are those of `source`, in order. A
    collective."""
    if not any(truth.tier for truth in truths):
        return None, ""
    if not hears_clips_alone(parts.experiment.model):
        return None, "the encoder hears both clips of a pair together"
    found = clip_similarity(parts, variables, source)
    return {truth.id: float(one) for truth, one in zip(truths, found, strict=True)}, ""


def clip_similarity(parts: Parts, variables: Variables, source: Source) -> np.ndarray:
    """[n] cosines between the embeddings of both clips of every pair, in the order of `source`; 0
    where an embedding is zero.

    The embedding is ADIFF's own, or the mean over a clip's frames of ADC's encoder. A collective:
    every process must call it. Raises TypeError unless `hears_clips_alone`.
    """
    rows = []
    for arrays in parts.rows(source):
        cosines = _cosines(parts.objective.module, variables, parts.to_batch(arrays))
        found = local_rows(cosines, parts.mesh)
        rows += [
            {"id": int(arrays["example_id"][place]), "cosine": float(found[place])}
            for place in np.flatnonzero(arrays["valid"])
        ]
    return np.array([row["cosine"] for row in gather_each(rows, len(source))])


@partial(jax.jit, static_argnames="module")
def _cosines(module: Any, variables: Variables, batch: Batch) -> Float[Array, " b"]:
    if not hears_clips_alone(module.config):
        raise TypeError(f"the encoder of {type(module).__name__} hears no clip alone")
    if isinstance(module.config, Adiff):
        both = module.apply(variables, batch, method="embeddings")
        first, second = both[:, 0], both[:, 1]
    else:
        frames = module.apply(variables, batch, False, method="clip_frames")
        first, second = masked_mean(frames[0], frames[2]), masked_mean(frames[1], frames[3])
    first, second = first.astype(jnp.float32), second.astype(jnp.float32)
    norms = jnp.linalg.norm(first, axis=-1) * jnp.linalg.norm(second, axis=-1)
    return (first * second).sum(axis=-1) / jnp.maximum(norms, jnp.finfo(jnp.float32).tiny)
