"""Batches as shapes, for what is traced and compiled but not computed."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from adiff_jax.arrays import Batch
from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.data.features import CachedPairs
from adiff_jax.experiment import Experiment, heard_of
from adiff_jax.matching import InBatch, SwappedOrder
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.build import FrameEncoder, build_encoder
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.models.tagger import Tagger


def abstract_batch(experiment: Experiment) -> Batch:
    """Shapes of a training batch of this experiment, nothing loaded: texts as long as they may be,
    of all buckets the last."""
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
        content_id=array((), jnp.int32),
        source_id=array((), jnp.int32),
        text_id=array((), jnp.int32),
        question_id=array((), jnp.int32),
    )
    text = {
        "tokens": array((encode.max_tokens,), jnp.int32),
        "tokens_mask": array((encode.max_tokens,), jnp.bool_),
    }
    match experiment.model:
        case LanguageModel():
            return replace(batch, audio_1=None, length_1=None, **text)
        case Adiff(encoder=encoder):
            cached = isinstance(heard_of(experiment.data.train), CachedEmbeddings)
            if isinstance(encoder, Htsat | Cnn10):
                width = encoder.embedding_width
            else:  # a clip's width is that of its frames
                width = _frames(experiment)[-1]
            embedding = array((1, width), jnp.float32) if cached else None
            return replace(
                batch,
                audio_1=None if cached else wave,
                audio_2=None if cached else wave,
                features_1=embedding,
                features_2=embedding,
                length_2=length,
                prompt=array((encode.prompt_tokens,), jnp.int32),
                prompt_mask=array((encode.prompt_tokens,), jnp.bool_),
                **text,
                **_negatives(experiment, text),
            )
        case Tagger(classes=classes):
            return replace(batch, labels=array((classes,), jnp.float32))
        case Cl4ac():
            cached = isinstance(experiment.data.train, CachedPairs)
            return replace(
                batch,
                audio_1=None if cached else wave,
                features_1=array(_frames(experiment), jnp.float32) if cached else None,
                **text,
                **_negatives(experiment, text),
            )
        case Adc():
            cached = isinstance(experiment.data.train, CachedPairs)
            frames = array(_frames(experiment), jnp.float32) if cached else None
            return replace(
                batch,
                audio_1=None if cached else wave,
                audio_2=None if cached else wave,
                features_1=frames,
                features_2=frames,
                length_2=length,
                **text,
                **_negatives(experiment, text),
            )


def _frames(experiment: Experiment) -> tuple[int, ...]:
    """Shape of a clip's frames as the encoder of the model, whose features are cached, gives it."""
    encoder: FrameEncoder = experiment.model.encoder  # type: ignore[union-attr, assignment]
    count = encoder.frontend.frames(experiment.data.encode.samples)
    channels = () if isinstance(encoder, Cnn10) else (encoder.channels,)
    features = jax.ShapeDtypeStruct((1, count, encoder.frontend.mels, *channels), jnp.float32)
    module = build_encoder(encoder, jnp.float32)
    (frames, _), _ = jax.eval_shape(
        module.init_with_output,
        jax.eval_shape(lambda: jax.random.key(0)),
        features,
        jax.ShapeDtypeStruct((1,), jnp.int32),
    )
    return tuple(frames.shape[1:])


def _negatives(experiment: Experiment, text: dict[str, Any]) -> dict[str, Any]:
    """What the loader adds for the matching loss."""
    matching = getattr(experiment.model, "matching", None)
    if matching is None:
        return {}
    found = {"negative_true": jax.ShapeDtypeStruct((experiment.train.global_batch,), jnp.bool_)}
    if not isinstance(matching.negative, InBatch | SwappedOrder):
        found |= {"negative": text["tokens"], "negative_mask": text["tokens_mask"]}
    return found
