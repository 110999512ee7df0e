"""Shapes of whole models' variables, nothing computed: what a conversion has to fill."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from adiff_jax.arrays import Batch
from adiff_jax.convert.engine import Variables
from adiff_jax.models.adiff import Adiff, AdiffModel
from adiff_jax.models.gpt2 import Gpt2, Gpt2Module
from adiff_jax.models.tagger import Tagger, TaggerModel


def _of(dtype: type, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _clips(count: int, samples: int) -> Batch:
    """A batch of one example with one clip or two."""
    clips = {f"audio_{clip}": _of(jnp.float32, 1, samples) for clip in range(1, count + 1)}
    lengths = {f"length_{clip}": _of(jnp.int32, 1) for clip in range(1, count + 1)}
    return Batch(valid=_of(jnp.bool_, 1), example_id=_of(jnp.int32, 1), **clips, **lengths)


def tagger_shapes(tagger: Tagger, head: bool = True) -> Variables:
    """Of a tagger; without its `head` when only an encoder is at hand."""
    batch = _clips(1, tagger.encoder.frontend.rate)
    method = None if head else "embed"
    model = TaggerModel(tagger)
    return jax.eval_shape(lambda rows: model.init(jax.random.key(0), rows, method=method), batch)


def language_model_shapes(config: Gpt2) -> Variables:
    """Of a GPT-2, below "lm"."""
    words = _of(jnp.float32, 1, 2, config.width)
    model = Gpt2Module(config)
    shapes = jax.eval_shape(lambda rows: model.init(jax.random.key(0), rows), words)
    return {"params": {"lm": shapes["params"]}, "batch_stats": {}}


def adiff_shapes(config: Adiff) -> Variables:
    """Of a whole ADIFF."""
    prompt = config.mappers.tokens
    batch = replace(
        _clips(2, config.encoder.frontend.rate),
        prompt=_of(jnp.int32, 1, prompt),
        prompt_mask=_of(jnp.bool_, 1, prompt),
        tokens=_of(jnp.int32, 1, 2),
        tokens_mask=_of(jnp.bool_, 1, 2),
    )
    model = AdiffModel(config)
    return jax.eval_shape(lambda rows: model.init(jax.random.key(0), rows), batch)
