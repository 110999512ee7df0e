"""The tagger: pooling over valid frames, and an encoder that carries over to ADC-SDD."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.models.adc import AdcModel
from adiff_jax.models.tagger import Tagger, TaggerModel
from tests.models.toys import ADC, audio_batch, drawn, fresh
from tests.quick import quick_jit

TAGGER = Tagger(encoder=ADC.encoder, classes=3)
BATCH = audio_batch()


def shapes(tagger: Tagger) -> dict[str, Any]:
    return jax.eval_shape(partial(TaggerModel(tagger).init, jax.random.key(0)), BATCH)


def test_its_encoder_is_the_one_of_adc() -> None:
    ours, theirs = shapes(TAGGER), fresh(ADC, audio=True)
    for collection in ("params", "batch_stats"):
        expected = jax.tree.map(jnp.shape, theirs[collection]["encoder"])
        assert jax.tree.map(jnp.shape, ours[collection]["encoder"]) == expected


def test_an_embedding_is_the_maximum_plus_the_mean_over_valid_frames() -> None:
    encoder = {k: {"encoder": v["encoder"]} for k, v in fresh(ADC, audio=True).items()}
    embed = quick_jit(partial(TaggerModel(TAGGER).apply, method="embed"))
    clip_frames = quick_jit(partial(AdcModel(ADC).apply, train=False, method="clip_frames"))
    frames, _, mask, _ = jax.device_get(clip_frames(fresh(ADC, audio=True), BATCH))
    assert 0 < mask.mean() < 1
    for row, embedding in enumerate(embed(encoder, BATCH)):
        valid = frames[row, mask[row]]
        np.testing.assert_allclose(embedding, valid.max(axis=0) + valid.mean(axis=0), atol=1e-5)


def test_logits_are_float32_under_bfloat16() -> None:
    half = replace(TAGGER, compute="bfloat16")
    logits = jax.eval_shape(TaggerModel(half).apply, shapes(half), BATCH)
    assert logits.dtype == jnp.float32 and logits.shape == (4, 3)


def test_a_second_channel_is_zero_for_single_clips() -> None:
    two = replace(TAGGER, encoder=replace(ADC.encoder, channels=2))
    variables = drawn(shapes(two))
    apply = quick_jit(TaggerModel(two).apply)
    before = apply(variables, BATCH)
    kernel = variables["params"]["encoder"]["conv_1"]["kernel"]
    variables["params"]["encoder"]["conv_1"]["kernel"] = kernel.at[:, :, 1].add(1.0)
    np.testing.assert_array_equal(apply(variables, BATCH), before)
