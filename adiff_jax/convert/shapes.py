"""Shapes of whole models' variables, nothing computed: what a conversion has to fill."""

import jax
import jax.numpy as jnp

from adiff_jax.arrays import Batch
from adiff_jax.convert.engine import Variables
from adiff_jax.models.gpt2 import Gpt2, Gpt2Module
from adiff_jax.models.tagger import Tagger, TaggerModel


def _of(dtype: type, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def tagger_shapes(tagger: Tagger, head: bool = True) -> Variables:
    """Of a tagger; without its `head` when only an encoder is at hand."""
    batch = Batch(
        valid=_of(jnp.bool_, 1),
        example_id=_of(jnp.int32, 1),
        audio_1=_of(jnp.float32, 1, tagger.encoder.frontend.rate),
        length_1=_of(jnp.int32, 1),
    )
    method = None if head else "embed"
    model = TaggerModel(tagger)
    return jax.eval_shape(lambda rows: model.init(jax.random.key(0), rows, method=method), batch)


def language_model_shapes(config: Gpt2) -> Variables:
    """Of a GPT-2, below "lm"."""
    words = _of(jnp.float32, 1, 2, config.width)
    model = Gpt2Module(config)
    shapes = jax.eval_shape(lambda rows: model.init(jax.random.key(0), rows), words)
    return {"params": {"lm": shapes["params"]}, "batch_stats": {}}
