"""Captioning with SDD as `train` sees it: who gets gradient, which rows count, what is reported."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.arrays import Batch, Term
from adiff_jax.disentanglement import disentanglement_controls
from adiff_jax.models.adc import Adc, AdcModel
from adiff_jax.models.tagger import Tagger
from adiff_jax.objectives import Captioning, Tagging
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Rules, rules_table
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import abstract_state, with_variables
from adiff_jax.train.step import make_train_step
from tests.lowered import products
from tests.models.toys import (
    ADC,
    audio_batch,
    drawn,
    feature_batch,
    forward,
    fresh,
    rows_of,
    with_sdd,
)
from tests.quick import quick_jit

LATE = with_sdd(stage="late")
ATTRACT = with_sdd(stage="late", none_pairs="attract")


def mean(term: Term) -> jax.Array:
    return term[0] / jnp.maximum(term[1], 1e-9)


def rngs() -> dict[str, jax.Array]:
    """One key a stream, of the generator that is quickest to compile."""
    return {name: jax.random.key(7, impl="rbg") for name in Captioning(ADC).streams}


@cache
def program(objective: Captioning, train: bool) -> Callable[..., tuple]:
    return quick_jit(partial(objective.loss, train=train))


def losses_of(adc: Adc, batch: Batch, train: bool = False) -> tuple:
    """Terms, statistics, metrics."""
    variables = fresh(adc, batch.audio_1 is not None)
    return jax.device_get(program(Captioning(adc), train)(variables, batch, rngs()))


def size(tree: Any) -> float:
    """The largest absolute value of any leaf."""
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def test_a_weight_of_zero_gives_the_gradients_of_the_baseline() -> None:
    base = replace(ADC, comparison=replace(ADC.comparison, dropout=0.2))
    batch, adc = feature_batch(), with_sdd(base, stage="late", segments=False, weight=0.0)

    def gradients(adc: Adc, params: dict[str, Any]) -> dict[str, Any]:
        def total(params: dict[str, Any]) -> jax.Array:
            objective = Captioning(adc)
            terms, *_ = objective.loss({"params": params}, batch, rngs(), train=True)
            return sum(weight * mean(terms[name]) for name, weight in objective.weights.items())

        return quick_jit(jax.grad(total))(params)

    params = fresh(adc)["params"]
    got = gradients(adc, params)
    assert size(got.pop("pooling")) == 0
    shared = {name: part for name, part in params.items() if name != "pooling"}
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, got, gradients(base, shared))


@pytest.mark.parametrize("stage", ["late", "early"])
def test_late_sdd_reaches_the_difference_encoder_and_early_sdd_does_not(stage: str) -> None:
    adc, batch = with_sdd(stage=stage), audio_batch()
    variables = fresh(adc, audio=True)

    def terms_of(params: dict[str, Any]) -> jax.Array:
        terms, *_ = Captioning(adc).loss({**variables, "params": params}, batch, rngs(), False)
        return jnp.stack([mean(terms["similarity"]), mean(terms["discrepancy"])])

    jacobian = jax.device_get(quick_jit(jax.jacrev(terms_of))(variables["params"]))
    for row, unused in enumerate(("discrepant", "similar")):
        gradient = jax.tree.map(lambda leaf, row=row: leaf[row], jacobian)
        assert size(gradient["encoder"]["conv_1"]["kernel"]) > 1e-6
        assert size(gradient["projection"]["kernel"]) > 1e-6
        assert size(gradient["decoder"]) == 0
        assert size(gradient["pooling"].pop(unused)) == 0
        assert size(gradient["pooling"]) > 1e-6
        for leaf in ("value", "out"):
            reached = size(gradient["comparison"]["blocks_0"]["attention"][leaf]["kernel"])
            assert reached > 1e-6 if stage == "late" else reached == 0
        assert (size(gradient["comparison"]) > 0) == (stage == "late")


@pytest.mark.parametrize(("none_pairs", "sign"), [("exclude", 0), ("attract", -1)])
def test_pairs_in_which_nothing_changed_are_left_out_or_attracted(
    none_pairs: str, sign: int
) -> None:
    adc, batch = with_sdd(stage="late", none_pairs=none_pairs), feature_batch()
    one_by_one = [losses_of(LATE, batch.replace(changed=jnp.arange(4) == k)) for k in range(4)]
    cosines = [terms["discrepancy"][0] for terms, *_ in one_by_one]
    changed = jnp.array([True, False, True, True])
    terms, _, metrics = losses_of(adc, batch.replace(changed=changed))
    expected = cosines[0] + cosines[2] + cosines[3] + sign * cosines[1]
    np.testing.assert_allclose(
        terms["discrepancy"], (expected, 3 + abs(sign)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(metrics["sdd_none_cosine"], (cosines[1], 1), rtol=1e-5)


def test_pairs_of_one_scene_are_no_negatives() -> None:
    batch = feature_batch()
    distinct, *_ = losses_of(LATE, batch)
    same, _, metrics = losses_of(LATE, batch.replace(scene_id=jnp.full(4, 7)))
    assert same["similarity"][0] == 0 < distinct["similarity"][0]
    assert metrics["sdd_retrieval"] == (0, 0)  # nothing to be told from


def test_a_batch_of_one_has_no_similarity_loss() -> None:
    terms, *_ = losses_of(LATE, rows_of(feature_batch(), slice(1)))
    assert terms["similarity"][0] == 0 and terms["similarity"][1] == 1
    assert terms["discrepancy"][0] != 0


@pytest.mark.parametrize("train", [False, True])
def test_rows_that_are_not_valid_change_no_term_metric_or_statistic(train: bool) -> None:
    batch = audio_batch()
    batch = batch.replace(valid=batch.valid.at[1].set(False))
    other = batch.replace(
        audio_1=batch.audio_1.at[1].multiply(-30.0),
        audio_2=batch.audio_2.at[1].set(batch.audio_2[0]),
        length_1=batch.length_1.at[1].set(3000),
        tokens=batch.tokens.at[1].set(5),
        tokens_mask=batch.tokens_mask.at[1].set(True),
        changed=batch.changed.at[1].set(False),
        scene_id=batch.scene_id.at[1].set(batch.scene_id[0]),
    )
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, losses_of(ATTRACT, other, train), losses_of(ATTRACT, batch, train))


def test_statistics_move_in_training_only() -> None:
    before = fresh(ATTRACT, audio=True)["batch_stats"]
    _, same, _ = losses_of(ATTRACT, audio_batch())
    jax.tree.map(np.testing.assert_array_equal, same, before)
    _, moved, _ = losses_of(ATTRACT, audio_batch(), train=True)
    assert jax.tree.structure(moved) == jax.tree.structure(before)
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved, before)), strict=True))


def test_losses_over_a_sharded_batch_are_those_of_the_whole_batch() -> None:
    batch, variables = feature_batch(rows=8), fresh(LATE)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere, by_row = (NamedSharding(mesh, p) for p in (PartitionSpec(), PartitionSpec("data")))
    run = program(Captioning(LATE), False)
    expected = run(variables, batch, rngs())
    assert expected[0]["similarity"][0] > 0.1
    got = run(*jax.device_put((variables, batch, rngs()), (everywhere, by_row, everywhere)))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), got, expected)


def test_similarities_stay_at_highest_precision_under_bfloat16() -> None:
    adc, batch = replace(LATE, compute="bfloat16"), feature_batch(rows=5)
    run = jax.jit(partial(Captioning(adc).loss, train=False))
    found = [p for p in products(run.lower(fresh(LATE), batch, rngs())) if p.shape == (5, 5)]
    assert found and all(product.highest and product.type == "f32" for product in found)


def test_every_term_and_metric_is_float32() -> None:
    adc = replace(LATE, compute="bfloat16")
    run = partial(Captioning(adc).loss, train=False)
    terms, _, metrics = jax.eval_shape(run, fresh(LATE), feature_batch(), rngs())
    assert {leaf.dtype for leaf in jax.tree.leaves((terms, metrics))} == {jnp.dtype("float32")}


def test_weights_name_the_terms() -> None:
    for adc, weights in (
        (ADC, {"caption": 1.0}),
        (with_sdd(weight=0.5), {"caption": 1.0, "similarity": 0.5, "discrepancy": 0.5}),
    ):
        terms, *_ = jax.eval_shape(
            partial(Captioning(adc).loss, train=False), fresh(adc), feature_batch(), rngs()
        )
        assert dict(Captioning(adc).weights) == weights
        assert set(terms) == set(weights)


def test_examples_are_coupled_by_batch_norm_or_sdd() -> None:
    frozen = replace(ADC, freeze_encoder=True)
    assert Captioning(ADC).couples_examples
    assert not Captioning(frozen).couples_examples
    assert Captioning(with_sdd(frozen, stage="early")).couples_examples
    statistics_kept = replace(ADC.encoder, freeze_batch_norm=True)
    assert not Captioning(replace(ADC, encoder=statistics_kept)).couples_examples
    assert Tagging(Tagger()).couples_examples
    assert not Tagging(Tagger(encoder=statistics_kept)).couples_examples


def test_a_frozen_encoder_stays_bit_for_bit_and_holds_no_optimizer_state() -> None:
    adc = replace(ADC, freeze_encoder=True)
    objective, batch = Captioning(adc), audio_batch()
    optimizer = Optimizer(learning_rate=0.1, weight_decay=0.5, ema=0.9)
    arguments = (objective, optimizer, 3, batch)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    abstract = abstract_state(*arguments, mesh, Rules())
    assert not [
        path for path, *_ in rules_table(abstract.opt_state, mesh, Rules()) if "encoder" in path
    ]

    shapes = {"params": abstract.params, "batch_stats": abstract.batch_stats}
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract)
    first = state = with_variables(zeros, drawn(shapes))
    run = quick_jit(make_train_step(objective, optimizer, 3))
    for step in range(3):
        state, metrics = run(state, batch, np.uint32(0), np.int32(step))
        assert metrics["applied"]
    for name in ("params", "batch_stats", "ema"):
        before, after = (getattr(s, name)["encoder"] for s in (first, state))
        jax.tree.map(np.testing.assert_array_equal, after, before)
    moved = state.params["projection"]["kernel"] != first.params["projection"]["kernel"]
    assert moved.all()


def test_labels_are_smoothed_in_training_only() -> None:
    batch, variables = feature_batch(), fresh(ADC)

    def caption(smoothing: float, train: bool) -> jax.Array:
        run = program(Captioning(ADC, label_smoothing=smoothing), train)
        return mean(run(variables, batch, rngs())[0]["caption"])

    assert caption(0.2, False) == pytest.approx(float(caption(0.0, True)), rel=1e-6)
    assert caption(0.2, True) != pytest.approx(float(caption(0.0, True)), rel=1e-3)


@cache
def control_program(adc: Adc) -> Callable[..., dict[str, Term]]:
    return quick_jit(partial(disentanglement_controls, AdcModel(adc)))


def controls(adc: Adc, batch: Batch) -> dict[str, Term]:
    return jax.device_get(control_program(adc)(fresh(adc), batch))


def test_identical_clips_have_cosine_one_unless_segments_tell_them_apart() -> None:
    bare = with_sdd(replace(ADC, comparison=replace(ADC.comparison, segments=False)), stage="late")
    for adc in (bare, with_sdd(stage="late", segments=False)):
        assert mean(controls(adc, feature_batch())["identical_cosine"]) == pytest.approx(1.0)
    assert mean(controls(LATE, feature_batch())["identical_cosine"]) < 0.99


@pytest.mark.parametrize(
    ("scenes", "valid"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], [True] * 8),
        ([0, 1, 0, 3, 3, 5, 1, 0], [True] * 8),  # row 4 is given a clip of its own scene, and row 0
        ([0, 1, 2, 3, 4, 5, 6, 7], [True, True, False, True, True, True, True, True]),
    ],
)
def test_a_re_paired_clip_is_told_from_clips_of_third_scenes(
    scenes: list[int], valid: list[bool]
) -> None:
    """Written out: first clip i, given the second clip of row i - 1, among those of other rows
    that are valid and of neither scene."""
    batch = feature_batch(rows=8).replace(scene_id=jnp.array(scenes), valid=jnp.array(valid))
    repaired = batch.replace(
        features_2=jnp.roll(batch.features_2, 1, axis=0), length_2=jnp.roll(batch.length_2, 1)
    )
    sdd = jax.device_get(forward(LATE)(fresh(LATE), repaired).aux["sdd"])
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (sdd.similar_1, sdd.similar_2))
    given = [i for i in range(8) if valid[i] and valid[i - 1]]
    right = counted = 0
    for i in given:
        third = [j for j in given if scenes[j - 1] not in (scenes[i], scenes[i - 1])]
        if third and scenes[i] != scenes[i - 1]:
            counted += 1
            right += all(x[i] @ y[i] > x[i] @ y[j] for j in third)
    assert controls(LATE, batch)["retrieval_repaired"] == (right, counted)
    assert counted >= 5


def test_two_rows_re_paired_have_nothing_to_be_told_from() -> None:
    """The only other clip is the true partner."""
    two = rows_of(feature_batch(), slice(2))
    assert controls(LATE, two)["retrieval_repaired"] == (0, 0)


def test_tagging_counts_valid_rows_and_trains_on_them_alone() -> None:
    objective = Tagging(Tagger(encoder=ADC.encoder, classes=3))
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 2, (4, 3)), jnp.float32)
    batch = audio_batch().replace(labels=labels, valid=jnp.arange(4) != 2)
    other = batch.replace(
        audio_1=batch.audio_1.at[2].multiply(50.0), labels=labels.at[2].set(1 - labels[2])
    )
    variables = drawn(jax.eval_shape(objective.init, jax.random.key(0), batch))
    run = quick_jit(partial(objective.loss, train=True))
    terms, statistics, _ = run(variables, batch, rngs())
    assert set(terms) == set(objective.weights) and terms["tagging"][1] == 3
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, run(variables, other, rngs())[:2], (terms, statistics))
    moved = zip(*map(jax.tree.leaves, (statistics, variables["batch_stats"])), strict=True)
    assert all((a != b).any() for a, b in moved)
