"""The words nearest to the vectors of a prefix."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from adiff_jax.data.tokenizers import Tokenizer, Words, build_tokenizer
from adiff_jax.models.adiff import AdiffModel
from adiff_jax.probing import parts_of, probe
from tests.models import adiff_toys
from tests.quick import quick_jit


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """As many tokens as the toy's vocabulary."""
    return build_tokenizer(Words(), [" ".join(f"w{i}" for i in range(adiff_toys.VOCABULARY - 4))])


def test_words_come_by_their_cosines_and_none_is_silent(tokenizer: Tokenizer) -> None:
    model, batch = AdiffModel(adiff_toys.ADIFF), adiff_toys.embedding_batch(rows=2)
    variables = adiff_toys.fresh()
    found = probe(model, variables, batch, tokenizer, 4)
    encode = quick_jit(partial(model.apply, method="encode"))
    prefix = np.asarray(encode(variables, batch).prefix)
    words = np.asarray(variables["params"]["lm"]["wte"])
    cosines = np.einsum("bsd,vd->bsv", prefix, words) / (
        np.linalg.norm(prefix, axis=-1)[..., None] * np.linalg.norm(words, axis=-1)
    )
    cosines[:, :, list(tokenizer.silent_ids(adiff_toys.VOCABULARY))] = -np.inf
    assert [len(row) for row in found] == [10, 10]
    for row, expected in zip(found, cosines, strict=True):
        for vector, near in zip(row, expected, strict=True):
            best = np.argsort(-near, kind="stable")[:4]
            assert [word for word, _ in vector.words] == [tokenizer.decode([int(i)]) for i in best]
            assert [cosine for _, cosine in vector.words] == pytest.approx(near[best], abs=1e-5)


def test_every_vector_belongs_to_a_part() -> None:
    parts = ["clip 1"] * 3 + ["separator"] + ["clip 2"] * 3 + ["prompt"] * 3
    assert parts_of(adiff_toys.ADIFF) == tuple(parts)
    parts.remove("separator")
    assert parts_of(replace(adiff_toys.ADIFF, cross=None)) == tuple(parts)


def test_a_vector_of_zeros_is_near_to_no_word(tokenizer: Tokenizer) -> None:
    config = replace(adiff_toys.ADIFF, cross=None, zero_prefix=True)
    batch = adiff_toys.embedding_batch(rows=1)
    found = probe(AdiffModel(config), adiff_toys.fresh(config), batch, tokenizer, 2)[0]
    assert {cosine for _, cosine in found[0].words} == {0.0}
