"""The matching loss on pairs: ADC-SDD and ADIFF are asked about other texts and the other order."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.arrays import Batch
from adiff_jax.audio.frontends import LogMel
from adiff_jax.matching import AnotherCaption, InBatch, Matching, SwappedOrder
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.objectives import Captioning
from tests.models import adiff_toys, toys
from tests.models.cl4ac_toys import identities, negatives
from tests.models.toys import drawn, swapped
from tests.quick import quick_jit

SWAPPED, ANOTHER = Matching(SwappedOrder()), Matching(AnotherCaption())
ROWS = 4


@dataclass(frozen=True)
class Kind:
    """A model of pairs, and batches for it."""

    model: Adc | Adiff
    batch: Callable[..., Batch]

    def given(self, matching: Matching | None) -> tuple[Captioning, dict[str, Any], Batch]:
        """The objective, its variables and a batch that has what the loss needs."""
        objective = Captioning(replace(self.model, matching=matching), label_smoothing=0.0)
        batch = replace(self.batch(ROWS), **identities(ROWS), negative_true=jnp.zeros(ROWS, bool))
        if matching == ANOTHER:
            batch = replace(batch, **negatives(ROWS))
        return objective, drawn(jax.eval_shape(objective.init, jax.random.key(0), batch)), batch


KINDS = {
    "adc": Kind(toys.ADC, toys.feature_batch),
    "adc with SDD": Kind(toys.with_sdd(stage="late"), toys.feature_batch),
    "adiff": Kind(adiff_toys.ADIFF, adiff_toys.embedding_batch),
}
every_kind = pytest.mark.parametrize(
    "kind",
    [pytest.param(KINDS["adc"], marks=pytest.mark.slow), KINDS["adc with SDD"], KINDS["adiff"]],
    ids=KINDS,
)


def scores(objective: Captioning, variables: Any, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    found = quick_jit(objective.module.apply)(variables, batch).aux["matching"]
    return np.asarray(found.own), np.asarray(found.other)


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@every_kind
def test_the_other_order_is_scored_as_the_exchanged_clips_would_be(kind: Kind) -> None:
    given = kind.given(SWAPPED)
    own, other = scores(*given)
    back_own, back_other = scores(*given[:2], swapped(given[2]))
    close(other, back_own)
    close(own, back_other)
    assert np.abs(own - other).max() > 1e-4


@every_kind
def test_another_text_is_scored_as_the_own_would_be(kind: Kind) -> None:
    objective, variables, batch = kind.given(ANOTHER)
    exchanged = replace(
        batch,
        tokens=batch.negative,
        tokens_mask=batch.negative_mask,
        negative=batch.tokens,
        negative_mask=batch.tokens_mask,
    )
    own, other = scores(objective, variables, batch)
    own_then, other_then = scores(objective, variables, exchanged)
    close(other, own_then)
    close(own, other_then)


@every_kind
def test_the_loss_stands_beside_the_others_and_changes_none_of_them(kind: Kind) -> None:
    objective, variables, batch = kind.given(replace(SWAPPED, weight=0.25))
    terms, _, metrics = objective.loss(variables, batch, {}, False)
    silent, _, _ = kind.given(None)
    without = {
        name: {k: v for k, v in tree.items() if k != "matching"} for name, tree in variables.items()
    }
    expected, _, _ = silent.loss(without, batch, {}, False)
    assert {*terms} == {*expected, "matching"}
    for name, (value, weight) in expected.items():
        close(terms[name], (value, weight))
    assert objective.weights["matching"] == 0.25
    assert 0 <= float(metrics["matching_accuracy"][0]) <= float(metrics["matching_accuracy"][1])


@every_kind
def test_in_batch_negatives_are_of_rows_that_are_asked_the_same(kind: Kind) -> None:
    objective, variables, batch = kind.given(Matching(InBatch()))
    asked = replace(batch, question_id=jnp.arange(ROWS) // 2)
    terms, _, metrics = objective.loss(variables, asked, {"negatives": jax.random.key(0)}, False)
    assert terms["matching"][1] == 2 * ROWS
    prepared = objective.prepared(asked, {"negatives": jax.random.key(0)})
    other = jnp.arange(ROWS) ^ 1
    np.testing.assert_array_equal(prepared.negative, batch.tokens[other])
    assert float(metrics["false_negatives"][0]) == 0


def test_a_frozen_encoder_is_not_needed_to_swap_and_is_asked_once() -> None:
    """Embeddings are computed once: as many logarithms, those of the log-mel, as without the
    loss."""
    audio = adiff_toys.audio_batch(ROWS)

    def count(matching: Matching | None) -> int:
        objective = Captioning(replace(adiff_toys.ADIFF, matching=matching))
        batch = replace(audio, negative_true=jnp.zeros(ROWS, bool))
        shapes = jax.eval_shape(objective.init, jax.random.key(0), batch)
        text = jax.jit(objective.module.apply).lower(shapes, batch).as_text()
        return text.count("stablehlo.log ")

    assert count(SWAPPED) == count(None) > 0


def test_a_difference_channel_hears_one_order_only() -> None:
    wide = replace(toys.ADC, encoder=replace(toys.ADC.encoder, channels=2), difference_channel=True)
    with pytest.raises(ValueError, match="the encoder hears both clips in one order"):
        replace(wide, matching=SWAPPED)
    replace(wide, matching=ANOTHER)


CNN10 = Cnn10(filters=(4, 4, 8, 16), frontend=LogMel(mels=16), dropout=0.0)


@pytest.mark.slow
def test_cnn10_hears_pairs_for_adc() -> None:
    """Each clip as it would by itself, and both masked alike in training."""
    adc = replace(toys.ADC, encoder=CNN10)
    objective, batch = Captioning(adc), toys.audio_batch(ROWS)
    variables = drawn(jax.eval_shape(objective.init, jax.random.key(0), batch))
    frames = quick_jit(lambda v, b: objective.module.apply(v, b, False, method="clip_frames"))
    first, second, *_ = frames(variables, batch)
    back_first, back_second, *_ = frames(variables, swapped(batch))
    close(first, back_second)
    close(second, back_first)
    same = replace(batch, audio_2=batch.audio_1, length_2=batch.length_1)
    still = replace(objective, model=replace(adc, freeze_encoder=True))
    rngs = {"augment": jax.random.key(1), "dropout": jax.random.key(2)}
    one, two, *_ = still.module.apply(variables, same, True, rngs=rngs, method="clip_frames")
    close(one, two)
    plain, *_ = frames(variables, same)
    assert np.abs(one - plain).max() > 1e-3


def test_cnn10_has_no_difference_channel() -> None:
    with pytest.raises(ValueError, match="Cnn10 has one input channel"):
        replace(toys.ADC, encoder=CNN10, difference_channel=True)
