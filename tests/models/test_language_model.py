"""A language model by itself: what it sees, what it learns, and what it gives ADIFF."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.data.schema import Source
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.texts import Texts
from adiff_jax.models.language_model import LanguageModel, LanguageModelModule
from adiff_jax.objectives import Captioning, LanguageModelling
from tests.models.adiff_toys import ADIFF, TOKENS, VOCABULARY, embedding_batch
from tests.models.toys import drawn
from tests.quick import quick_jit

MODEL = LanguageModel(ADIFF.lm, context=4)


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    init = LanguageModelling(MODEL).init
    return drawn(jax.eval_shape(init, jax.random.key(0), embedding_batch()))


def logits(variables: dict[str, Any], tokens: jax.Array) -> np.ndarray:
    batch = embedding_batch().replace(tokens=tokens)  # type: ignore[attr-defined]
    return np.asarray(quick_jit(LanguageModelModule(MODEL).apply)(variables, batch).logits)


def test_a_token_is_predicted_from_those_before_it(variables: dict[str, Any]) -> None:
    tokens = embedding_batch().tokens
    before = logits(variables, tokens)
    assert before.shape == (4, TOKENS, VOCABULARY)
    after = logits(variables, tokens.at[:, 3].add(1) % VOCABULARY)
    np.testing.assert_allclose(after[:, :4], before[:, :4], atol=1e-6)
    assert np.abs(after[:, 4:] - before[:, 4:]).max() > 1e-3


def test_the_loss_leaves_out_what_is_masked(variables: dict[str, Any]) -> None:
    batch = embedding_batch()
    loss = LanguageModelling(MODEL).loss
    masked = batch.replace(tokens=jnp.where(batch.tokens_mask, batch.tokens, 5))  # type: ignore[attr-defined]
    terms = [loss(variables, rows, {}, False)[0]["language"] for rows in (batch, masked)]
    assert float(terms[0][0]) == pytest.approx(float(terms[1][0]), rel=1e-5)
    assert float(terms[0][1]) == batch.tokens_mask.sum()


def test_its_parameters_are_those_of_adiff_below_lm(variables: dict[str, Any]) -> None:
    adiff = jax.eval_shape(Captioning(ADIFF).init, jax.random.key(0), embedding_batch())
    shapes = [jax.tree.map(jnp.shape, tree["params"]["lm"]) for tree in (variables, adiff)]
    assert shapes[0] == shapes[1]
    assert list(variables["params"]) == ["lm"]


@pytest.mark.parametrize("field, value", [("end_id", VOCABULARY), ("context", 0)])
def test_settings_that_do_not_fit_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        replace(MODEL, **{field: value})


def test_texts_of_a_source_come_without_audio() -> None:
    pairs: Source = open_source(SynthPairs(Procedural(), size=3, tier=1))
    texts = Texts(pairs)
    assert len(texts) == 3
    assert [texts[i].captions for i in range(3)] == [pairs.truth(i).references for i in range(3)]
    assert texts[0].waves == () and texts[0].id == pairs.truth(0).id
    assert list(texts.texts()) == list(pairs.texts())
