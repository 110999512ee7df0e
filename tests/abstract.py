"""Batches as shapes, for what is traced and not computed."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from adiff_jax.arrays import Batch
from adiff_jax.experiment import Experiment
from adiff_jax.models.adc import Adc
from adiff_jax.models.tagger import Tagger


def abstract_batch(experiment: Experiment) -> Batch:
    """Shapes of a training batch of this experiment, nothing loaded."""
    rows, encode = experiment.train.global_batch, experiment.data.encode

    def array(shape: tuple[int, ...], kind: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, *shape), kind)

    wave = array((encode.samples,), jnp.float32)
    length = array((), jnp.int32)
    batch = Batch(
        valid=array((), jnp.bool_),
        example_id=array((), jnp.int32),
        audio_1=wave,
        length_1=length,
        scene_id=array((), jnp.int32),
        changed=array((), jnp.bool_),
    )
    match experiment.model:
        case Tagger(classes=classes):
            return replace(batch, labels=array((classes,), jnp.float32))
        case Adc():
            return replace(
                batch,
                audio_2=wave,
                length_2=length,
                tokens=array((encode.max_tokens,), jnp.int32),
                tokens_mask=array((encode.max_tokens,), jnp.bool_),
            )
