"""The properties of a captioner, held by ADIFF; tests of its own parts follow them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.arrays import Batch
from adiff_jax.models.adiff import ADIFF_SMALL, Adiff, AdiffModel
from adiff_jax.models.gpt2 import GPT2_LARGE, GPT2_MEDIUM, GPT2_XL
from adiff_jax.models.prefix import Mappers, unit_length
from adiff_jax.objectives import Captioning
from adiff_jax.protocol import Captioner
from tests.lowered import collectives, products
from tests.models.adiff_toys import (
    ADIFF,
    TOKENS,
    VOCABULARY,
    audio_batch,
    embedding_batch,
    fresh,
    logits_of,
)
from tests.models.toys import rows_of, swapped
from tests.quick import quick_jit

NAIVE = replace(ADIFF, cross=None)
every_arm = pytest.mark.parametrize("adiff", [ADIFF, NAIVE], ids=["cross-projection", "naive"])
close = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)


def count(tree: object) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_it_is_a_captioner() -> None:
    assert isinstance(AdiffModel(ADIFF), Captioner)


@every_arm
def test_cached_decoding_equals_the_uncached_forward(adiff: Adiff) -> None:
    batch, variables, model = embedding_batch(), fresh(adiff), AdiffModel(adiff)

    @quick_jit
    def start(variables: dict, batch: Batch) -> tuple:
        conditioning = model.apply(variables, batch, method="encode")
        return model.apply(variables, conditioning, TOKENS, method="prefill")

    extend = quick_jit(partial(model.apply, method="extend"))
    logits, cache = start(variables, batch)
    steps = [logits]
    for step in range(TOKENS - 1):
        logits, cache = extend(variables, cache, batch.tokens[:, step])
        steps.append(logits)
    close(np.stack(steps, axis=1), logits_of(adiff, batch))


@every_arm
def test_batch_is_the_first_axis_of_every_leaf_that_decoding_keeps(adiff: Adiff) -> None:
    model, batch, variables = AdiffModel(adiff), embedding_batch(rows=3), fresh(adiff)
    conditioning = jax.eval_shape(partial(model.apply, method="encode"), variables, batch)

    def start(variables: dict, conditioning: object) -> tuple:
        return model.apply(variables, conditioning, 5, method="prefill")

    _, cache = jax.eval_shape(start, variables, conditioning)
    leaves = jax.tree.leaves((conditioning, cache))
    assert len(leaves) >= 5
    assert {leaf.shape[0] for leaf in leaves} == {3}


def test_a_batch_of_one_equals_its_row_in_a_batch_of_many() -> None:
    batch = audio_batch()
    together = logits_of(ADIFF, batch)
    for row in range(4):
        one = slice(row, row + 1)
        close(logits_of(ADIFF, rows_of(batch, one)), together[one])


@every_arm
def test_padding_of_tokens_and_of_prompts_changes_nothing(adiff: Adiff) -> None:
    batch = embedding_batch()
    longer = batch.replace(
        prompt=jnp.pad(jnp.where(batch.prompt_mask, batch.prompt, 9), ((0, 0), (0, 3))),
        prompt_mask=jnp.pad(batch.prompt_mask, ((0, 0), (0, 3))),
        tokens=jnp.pad(batch.tokens, ((0, 0), (0, 2)), constant_values=1),
        tokens_mask=jnp.pad(batch.tokens_mask, ((0, 0), (0, 2))),
    )
    close(logits_of(adiff, longer)[:, :TOKENS], logits_of(adiff, batch))


@every_arm
def test_clips_their_order_and_the_prompt_change_the_logits(adiff: Adiff) -> None:
    batch = audio_batch()
    logits = logits_of(adiff, batch)
    others = (
        swapped(batch),
        batch.replace(audio_1=batch.audio_1[::-1]),
        batch.replace(prompt=(batch.prompt + 1) % VOCABULARY),
    )
    for other in others:
        assert np.abs(logits_of(adiff, other) - logits).max(axis=(1, 2)).min() > 1e-3


def test_cached_embeddings_give_what_their_audio_gives() -> None:
    batch, variables = audio_batch(), fresh()
    embed = quick_jit(partial(AdiffModel(ADIFF).apply, method="embeddings"))
    embeddings = embed(variables, batch)
    cached = batch.replace(
        audio_1=None, audio_2=None, features_1=embeddings[:, :1], features_2=embeddings[:, 1:]
    )
    close(logits_of(ADIFF, cached), logits_of(ADIFF, batch))


def test_initialised_on_cached_embeddings_it_has_an_encoder_for_recordings() -> None:
    shapes = [
        jax.eval_shape(Captioning(ADIFF).init, jax.random.key(0), batch)
        for batch in (embedding_batch(), audio_batch())
    ]
    assert shapes[0] == shapes[1]
    assert "encoder" in shapes[0]["params"]["clips"]


def test_with_a_zero_prefix_the_clips_are_not_heard_but_the_prompt_is() -> None:
    control = replace(ADIFF, zero_prefix=True)
    batch, variables = embedding_batch(), fresh()
    logits = logits_of(control, batch, variables)
    close(
        logits_of(
            control,
            embedding_batch(seed=1).replace(
                prompt=batch.prompt, prompt_mask=batch.prompt_mask, tokens=batch.tokens
            ),
            variables,
        ),
        logits,
    )
    other = batch.replace(prompt=(batch.prompt + 1) % VOCABULARY)
    assert np.abs(logits_of(control, other, variables) - logits).max() > 1e-3


def test_tags_of_both_clips_do_not_depend_on_their_place() -> None:
    batch, variables = audio_batch(), fresh()
    tags = quick_jit(partial(AdiffModel(ADIFF).apply, method="tags"))
    close(tags(variables, batch)[:, ::-1], tags(variables, swapped(batch)))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_parts_are_in_evaluation_mode_while_the_rest_trains(frozen: bool) -> None:
    adiff = replace(
        ADIFF,
        projection=replace(ADIFF.projection, dropout=0.0),
        lm=replace(ADIFF.lm, dropout=0.5),
        freeze_encoder=frozen,
        freeze_lm=frozen,
    )
    batch, variables = audio_batch(), fresh()
    rngs = {"augment": jax.random.key(1), "dropout": jax.random.key(2)}
    apply = partial(AdiffModel(adiff).apply, train=True, mutable=["batch_stats"])
    output, updated = quick_jit(apply)(variables, batch, rngs=rngs)
    still = np.allclose(output.logits, logits_of(adiff, batch, variables), atol=1e-5)
    assert still == frozen
    same = jax.tree.map(np.array_equal, updated["batch_stats"], variables["batch_stats"])
    assert all(jax.tree.leaves(same)) == frozen
    assert Captioning(adiff).frozen == (("clips/.*", "lm/.*") if frozen else ())
    assert Captioning(adiff).couples_examples != frozen


def test_the_head_alone_is_dropped_out_when_encoder_and_language_model_are_frozen() -> None:
    batch, variables = embedding_batch(), fresh()
    train = quick_jit(partial(AdiffModel(ADIFF).apply, train=True))
    output = train(variables, batch, rngs={"dropout": jax.random.key(2)})
    assert not np.allclose(output.logits, logits_of(ADIFF, batch), atol=1e-3)


def test_log_mel_and_final_logits_are_float32_at_highest_precision() -> None:
    adiff = replace(ADIFF, compute="float32")
    lowered = jax.jit(AdiffModel(adiff).apply).lower(fresh(), audio_batch())
    logits = [p for p in products(lowered) if p.shape[-1:] == (VOCABULARY,)]
    assert logits and all(p.highest and p.type == "f32" for p in logits)


def test_no_row_leaves_its_device_between_audio_and_prefix() -> None:
    batch, variables = audio_batch(rows=8), fresh()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere, by_row = (NamedSharding(mesh, p) for p in (PartitionSpec(), PartitionSpec("data")))
    encode = partial(AdiffModel(ADIFF).apply, method="encode")
    spread = jax.jit(encode, in_shardings=(everywhere, by_row), out_shardings=by_row)
    assert not collectives(spread.lower(variables, batch).compile().as_text())


def test_bfloat16_computes_near_float32_and_returns_float32() -> None:
    half = logits_of(replace(ADIFF, compute="bfloat16"), embedding_batch(), fresh())
    full = logits_of(ADIFF, embedding_batch())
    assert half.dtype == np.float32
    assert 1e-5 < np.abs(half - full).max() < 0.1 * np.abs(full).max()


def test_a_zero_embedding_has_a_finite_gradient() -> None:
    value, gradient = jax.value_and_grad(lambda x: unit_length(x).sum())(jnp.zeros((2, 5)))
    assert value == 0 and np.isfinite(gradient).all()
    close(np.linalg.norm(unit_length(jnp.asarray([[1e-15, 0], [3e10, 4e10]])), axis=-1), [1, 1])


def shapes_of(adiff: Adiff) -> dict:
    width = adiff.clips.encoder.embedding_width
    text = jax.ShapeDtypeStruct((2, 8), jnp.int32), jax.ShapeDtypeStruct((2, 8), bool)
    embedding = jax.ShapeDtypeStruct((2, 1, width), jnp.float32)
    batch = Batch(
        valid=jax.ShapeDtypeStruct((2,), bool),
        example_id=jax.ShapeDtypeStruct((2,), jnp.int32),
        features_1=embedding,
        features_2=embedding,
        prompt=text[0],
        prompt_mask=text[1],
        tokens=text[0],
        tokens_mask=text[1],
    )
    return jax.eval_shape(Captioning(adiff).init, jax.random.key(0), batch)["params"]


BASE = 296_265_943 - 1_050_624 - 32_832 - (527 * 527 + 527)
"""The published count without STFT and mel constants and a linear layer that nothing reads."""


@pytest.mark.parametrize(
    "lm, parameters",
    [
        (Adiff().lm, 124_439_808),
        (GPT2_MEDIUM, 354_823_168),
        (GPT2_LARGE, 774_030_080),
        (GPT2_XL, 1_557_611_200),
    ],
)
def test_every_published_size_builds(lm, parameters: int) -> None:
    params = shapes_of(Adiff(lm=lm))
    assert count(params["lm"]) == parameters
    if lm == Adiff().lm:
        assert count(params) == BASE
        assert count(params["projection"]) == 1_837_056
        assert count(params["mapper_1"]) == count(params["mapper_2"]) == 50_417_664
        assert count(params["text_mapper"]) == 18_929_664
        assert count(params["cross"]) == 18_898_944


def test_the_naive_baseline_has_a_control_with_as_many_parameters() -> None:
    deeper = Adiff(cross=None, mappers=Mappers(audio_layers=5, text_layers=6))
    assert count(shapes_of(deeper)) == BASE
    assert count(shapes_of(Adiff(cross=None))) == BASE - 18_898_944


def test_the_naive_baseline_of_the_small_preset_has_such_a_control_too() -> None:
    naive = replace(ADIFF_SMALL, cross=None)
    deeper = replace(naive, mappers=replace(naive.mappers, audio_layers=3))
    assert count(shapes_of(deeper)) == count(shapes_of(ADIFF_SMALL)) > count(shapes_of(naive))


def test_the_small_preset_has_a_few_million_parameters() -> None:
    assert 3e6 < count(shapes_of(ADIFF_SMALL)) < 12e6


def test_a_separator_that_is_no_token_is_refused() -> None:
    with pytest.raises(ValueError, match="separator_id"):
        replace(ADIFF, separator_id=VOCABULARY)
