"""The matching loss on a batch: which rows count, which negatives are drawn, what it is worth."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.arrays import Batch
from adiff_jax.matching import AnotherCaption, EpochCaption, InBatch, Matching
from adiff_jax.matching_terms import (
    ROLLED,
    caption_only,
    matching_terms,
    other_clips,
    with_negatives,
)
from adiff_jax.models.matching import Matched
from adiff_jax.objectives import Captioning
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.step import make_train_step
from tests.models.cl4ac_toys import CL4AC, IN_BATCH, clip_features, fresh_cl4ac
from tests.models.toys import FRAMES
from tests.quick import quick_jit

ROWS = 8
UNIFORM, BATCH, EPOCH = Matching(AnotherCaption()), Matching(InBatch()), Matching(EpochCaption())


def scored(rows: int = ROWS, seed: int = 0) -> Matched:
    rng = np.random.default_rng(seed)
    own, other = rng.standard_normal((2, rows, 2)).astype(np.float32)
    return Matched(jnp.asarray(own), jnp.asarray(other))


def mean(term: Any) -> float:
    return float(term[0] / term[1])


def test_the_loss_is_the_mean_of_both_answers() -> None:
    matched, batch = scored(), clip_features(ROWS)
    terms, metrics = matching_terms(UNIFORM, matched, batch)
    probability = jax.nn.softmax(jnp.concatenate([matched.own, matched.other]))
    labels = np.repeat([1, 0], ROWS)
    expected = -np.log(np.asarray(probability)[np.arange(2 * ROWS), labels]).mean()
    np.testing.assert_allclose(mean(terms["matching"]), expected, rtol=1e-6)
    right = np.asarray(probability).argmax(axis=1) == labels
    np.testing.assert_allclose(mean(metrics["matching_accuracy"]), right.mean())
    assert mean(metrics["false_negatives"]) == 0


def test_a_negative_that_is_true_is_left_out_with_its_row() -> None:
    matched, batch = scored(), clip_features(ROWS)
    true = jnp.arange(ROWS) < 3
    terms, metrics = matching_terms(UNIFORM, matched, replace(batch, negative_true=true))
    rest = jax.tree.map(lambda leaf: leaf[3:], (matched, batch))
    expected, _ = matching_terms(UNIFORM, *rest)
    np.testing.assert_allclose(mean(terms["matching"]), mean(expected["matching"]), rtol=1e-6)
    assert mean(metrics["false_negatives"]) == 3 / ROWS


def test_the_published_code_takes_true_negatives_for_false() -> None:
    matched, batch = scored(), replace(clip_features(ROWS), negative_true=jnp.ones(ROWS, bool))
    terms, metrics = matching_terms(EPOCH, matched, batch)
    assert terms["matching"][1] == 2 * ROWS
    assert mean(metrics["false_negatives"]) == 1


def test_padding_rows_count_nothing() -> None:
    matched, batch = scored(), clip_features(ROWS)
    valid = jnp.arange(ROWS) < 5
    terms, _ = matching_terms(UNIFORM, matched, replace(batch, valid=valid))
    expected, _ = matching_terms(UNIFORM, *jax.tree.map(lambda x: x[:5], (matched, batch)))
    np.testing.assert_allclose(mean(terms["matching"]), mean(expected["matching"]), rtol=1e-6)


def test_without_negatives_nothing_is_asked() -> None:
    terms, metrics = matching_terms(
        UNIFORM, replace(scored(), other=None), replace(clip_features(ROWS), negative=None)
    )
    assert terms["matching"][1] == 0
    assert metrics["false_negatives"][1] == 0


def chosen(batch: Batch, key: int) -> list[int]:
    """Of which row each row was given the sentence."""
    found = with_negatives(BATCH, batch, jax.random.key(key))
    equal = (found.negative[:, None] == batch.tokens[None]).all(axis=-1)
    return np.asarray(equal.argmax(axis=1)).tolist()


def test_rows_are_given_the_sentence_of_any_other_row() -> None:
    batch = clip_features(ROWS)
    drawn = np.array([chosen(batch, key) for key in range(200)])
    for row in range(ROWS):
        counts = np.bincount(drawn[:, row], minlength=ROWS)
        assert counts[row] == 0
        assert (np.delete(counts, row) > 10).all()  # 28.6 expected


def test_rows_are_given_sentences_of_the_same_question_by_valid_rows() -> None:
    question = jnp.arange(ROWS) % 2
    batch = replace(
        clip_features(ROWS), question_id=question, valid=jnp.array([True] * 6 + [False] * 2)
    )
    for key in range(20):
        given = chosen(batch, key)
        assert all(given[row] % 2 == row % 2 and given[row] < 6 for row in range(6))


def test_a_row_without_another_keeps_its_own_sentence_which_is_true() -> None:
    batch = replace(clip_features(ROWS), question_id=jnp.arange(ROWS))
    found = with_negatives(BATCH, batch, jax.random.key(0))
    np.testing.assert_array_equal(found.negative, batch.tokens)
    assert np.asarray(found.negative_true).all()


@pytest.mark.parametrize("name", ["content_id", "source_id", "text_id"])
def test_what_two_rows_share_makes_the_negative_true(name: str) -> None:
    batch = replace(clip_features(2), **{name: jnp.zeros(2, jnp.int32)})
    assert np.asarray(with_negatives(BATCH, batch, jax.random.key(0)).negative_true).all()
    apart = with_negatives(BATCH, clip_features(2), jax.random.key(0))
    assert not np.asarray(apart.negative_true).any()


def test_the_same_words_are_true_whatever_pads_them() -> None:
    batch = clip_features(2)
    mask = jnp.broadcast_to(jnp.arange(7) < 4, (2, 7))
    same = jnp.where(mask, batch.tokens[:1], batch.tokens)
    found = with_negatives(BATCH, replace(batch, tokens=same, tokens_mask=mask), jax.random.key(0))
    assert np.asarray(found.negative_true).all()


def test_draws_are_a_function_of_the_step_and_have_a_stream_of_their_own() -> None:
    assert Captioning(IN_BATCH).streams == ("augment", "dropout", "negatives")
    assert Captioning(CL4AC).streams == ("augment", "dropout")
    batch = clip_features(ROWS)
    one, again, other = (Captioning(IN_BATCH).prepared(batch, {"negatives": k}) for k in KEYS)
    np.testing.assert_array_equal(one.negative, again.negative)
    assert (one.negative != other.negative).any()


KEYS = [jax.random.key(seed) for seed in (1, 1, 2)]


def test_negatives_of_the_batch_are_refused_in_micro_batches() -> None:
    frozen = replace(IN_BATCH, freeze_encoder=True)
    with pytest.raises(ValueError, match="accumulate=2: this objective has a loss term"):
        make_train_step(Captioning(frozen), Optimizer(), 10, accumulate=2)
    make_train_step(Captioning(replace(CL4AC, freeze_encoder=True)), Optimizer(), 10, accumulate=2)


def test_clips_of_other_rows_move_and_sentences_stay() -> None:
    batch = clip_features(ROWS)
    heard, counted = other_clips(batch)
    np.testing.assert_array_equal(heard.tokens, batch.tokens)
    np.testing.assert_array_equal(heard.negative, batch.negative)
    np.testing.assert_array_equal(heard.features_1, jnp.roll(batch.features_1, ROLLED, axis=0))
    np.testing.assert_array_equal(heard.length_1, jnp.roll(batch.length_1, ROLLED))
    assert np.asarray(counted).all()
    alike = replace(batch, content_id=batch.content_id.at[ROLLED].set(batch.content_id[0]))
    assert np.asarray(other_clips(alike)[1]).sum() == ROWS - 1
    ending = replace(batch, valid=jnp.arange(ROWS) < ROWS - 1)
    assert np.asarray(other_clips(ending)[1]).sum() == ROWS - 2


def test_a_negative_that_the_other_clips_bear_out_is_not_counted() -> None:
    batch = clip_features(ROWS)
    of_the_given = replace(
        batch,
        negative=batch.negative.at[ROLLED].set(batch.tokens[0]),
        negative_mask=batch.negative_mask.at[ROLLED].set(batch.tokens_mask[0]),
    )
    counted = np.asarray(other_clips(of_the_given)[1])
    assert not counted[ROLLED] and counted.sum() == ROWS - 1


@pytest.mark.parametrize("rows", [2, 3])
def test_batches_of_a_few_rows_have_other_clips_too(rows: int) -> None:
    heard, counted = other_clips(clip_features(rows))
    assert np.asarray(counted).all()
    assert (np.abs(heard.features_1 - clip_features(rows).features_1).max(axis=(1, 2)) > 0).all()


def test_sentences_that_give_themselves_away_are_seen_although_both_are_denied() -> None:
    """A model that hears denies either under other clips; which it holds for likelier tells."""
    batch, denied = clip_features(ROWS), jnp.array([4.0, 0.0])
    likelier = jnp.where(jnp.arange(ROWS)[:, None] < 6, jnp.array([0.0, 1.0]), 0.0)
    matched = Matched(denied + likelier, jnp.tile(denied, (ROWS, 1)))
    assert mean(matching_terms(UNIFORM, matched, batch)[1]["matching_accuracy"]) == 0.5
    alone = caption_only(UNIFORM, matched, batch)["matching_caption_only"]
    assert mean(alone) == (6 + 0.5 * 2) / ROWS


def test_the_loss_reaches_the_frames_the_words_and_the_head() -> None:
    """With the caption's loss taken away."""
    objective, batch = Captioning(CL4AC), clip_features(ROWS)
    variables = fresh_cl4ac(CL4AC)

    def loss(params: Any) -> jax.Array:
        terms, _, _ = objective.loss({**variables, "params": params}, batch, {}, False)
        return terms["matching"][0]

    found = quick_jit(jax.grad(loss))(variables["params"])
    for name in ("bridge_1", "bridge_2", "matching"):
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found[name])), name
    assert np.abs(found["decoder"]["embedding"]["embedding"]).max() > 0
    assert np.abs(found["decoder"]["output"]["kernel"]).max() == 0
    assert objective.weights == {"caption": 1.0, "matching": 1.0}
    half = replace(CL4AC, matching=Matching(weight=0.5))
    assert Captioning(half).weights["matching"] == 0.5


def test_both_texts_read_one_memory() -> None:
    """The encoder and the bridge run once: a lowered step holds their products once."""
    config, batch = replace(CL4AC, bridge=24), clip_features(ROWS)
    loss = partial(Captioning(config).loss, rngs={}, train=False)
    text = jax.jit(loss).lower(fresh_cl4ac(config), batch).as_text()
    dots = [line for line in text.splitlines() if "dot_general" in line]
    bridged = [line for line in dots if f"tensor<{ROWS}x{FRAMES}x24xf32>" in line]
    assert len(bridged) == 2  # into the bridge and out of it
