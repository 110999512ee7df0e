"""How alike the clips of each pair sound to the model's encoder."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from adiff_jax.clip_similarity import (
    _cosines,
    clip_similarity,
    hears_clips_alone,
    pair_similarity,
)
from adiff_jax.data.schema import Example, Source
from adiff_jax.data.sources import open_source
from adiff_jax.data.tokenizers import Words, build_tokenizer
from adiff_jax.experiment import Experiment
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff, AdiffModel
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.tagger import Tagger
from adiff_jax.parallel.mesh import make_mesh
from adiff_jax.parts import Parts
from adiff_jax.protocol import Variables
from tests.models import adiff_toys
from tests.quick import quick_jit
from tests.top import tiny_run


class Pairs:
    """Pairs of which every other holds the same clip twice."""

    def __init__(self, source: Source) -> None:
        self.source, self.truth, self.texts = source, source.truth, source.texts

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        first, second = example.waves
        return replace(example, waves=(first, second if index % 2 else first.copy()))


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return Pairs(open_source(replace(tiny_run.pairs("test", 6), tier=1)))


def parts_of(experiment: Experiment, source: Source) -> Parts:
    tokenizer = build_tokenizer(Words(), source.texts())
    return Parts(experiment, make_mesh(experiment.mesh), tokenizer)


def made(parts: Parts, source: Source) -> Variables:
    batch = parts.to_batch(next(iter(parts.rows(source, targets=True))))
    return quick_jit(parts.objective.init)(jax.random.key(0), batch)


def adc() -> Experiment:
    ours = tiny_run.adc("unused")
    encoder = replace(ours.model.encoder, channels=1)
    model = replace(ours.model, encoder=encoder, difference_channel=False, vocab_size=256)
    encode = replace(ours.data.encode, max_tokens=64)
    return replace(ours, model=model, data=replace(ours.data, encode=encode), start=())


def test_a_clip_is_as_like_itself_as_can_be_and_less_like_others(pairs: Pairs) -> None:
    parts = parts_of(adc(), pairs)
    found = clip_similarity(parts, made(parts, pairs), pairs)
    assert found.shape == (6,)
    assert found[::2] == pytest.approx(1.0, abs=1e-5)
    assert (found[1::2] < 1 - 1e-5).all() and (found >= -1).all()


def test_similarities_are_by_id_and_only_of_explanations(pairs: Pairs) -> None:
    parts = parts_of(adc(), pairs)
    variables = made(parts, pairs)
    truths = [pairs.truth(index) for index in range(6)]
    by_id, unknown = pair_similarity(parts, variables, pairs, truths)
    expected = clip_similarity(parts, variables, pairs)
    assert not unknown
    assert [by_id[truth.id] for truth in truths] == pytest.approx(expected.tolist())
    imperatives = open_source(tiny_run.pairs("test", 6))
    truths = [imperatives.truth(index) for index in range(6)]
    assert pair_similarity(parts, variables, imperatives, truths) == (None, "")


def test_a_model_that_hears_clips_together_has_no_similarity(pairs: Pairs) -> None:
    parts = parts_of(tiny_run.adc("unused"), pairs)
    found, unknown = pair_similarity(parts, {}, pairs, [pairs.truth(0)])
    assert found is None and "hears both clips" in unknown
    assert hears_clips_alone(Adiff()) and hears_clips_alone(Adc())
    assert not hears_clips_alone(Adc(StridedByolA(channels=2), difference_channel=True))
    assert not hears_clips_alone(Tagger())


@pytest.mark.slow
def test_of_adiff_it_is_the_cosine_of_its_embeddings() -> None:
    module, batch = AdiffModel(adiff_toys.ADIFF), adiff_toys.audio_batch()
    variables = adiff_toys.fresh()
    both = np.asarray(module.apply(variables, batch, method="embeddings"))
    expected = (both[:, 0] * both[:, 1]).sum(-1) / np.linalg.norm(both, axis=-1).prod(-1)
    found = _cosines(module, variables, batch)
    assert found == pytest.approx(expected, abs=1e-5) and len(set(found.tolist())) > 1


def test_the_cosine_with_an_embedding_of_zeros_is_zero() -> None:
    batch = adiff_toys.embedding_batch()
    batch = batch.replace(features_1=batch.features_1 * 0)
    found = _cosines(AdiffModel(adiff_toys.ADIFF), adiff_toys.fresh(), batch)
    assert found.tolist() == [0.0] * len(found)
