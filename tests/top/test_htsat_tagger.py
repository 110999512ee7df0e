"""A tagger over HTSAT trains, is found again and is scored like any other; it feeds no ADC."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from adiff_jax import answer, run
from adiff_jax.audio.augment import SpecAugment
from adiff_jax.audio.frontends import LogMel
from adiff_jax.cache import cached
from adiff_jax.experiment import ConfigError, Experiment
from adiff_jax.experiment_json import from_json, to_json
from adiff_jax.models.features import Augment
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.tagger import Tagger
from adiff_jax.opened import open_data
from tests.top import tiny_run
from tests.top.conftest import Quickly

ENCODER = Htsat(
    frontend=LogMel(window=512, hop=320, mels=16),
    width=8,
    depths=(1, 1),
    heads=(1, 1),
    window=4,
    patch=4,
    chunks=2,
    columns=32,
    augment=SpecAugment(1, 8, 1, 4),
)


def experiment() -> Experiment:
    base = tiny_run.tagger()
    model = Tagger(ENCODER, tiny_run.CLASSES, Augment(shift_seconds=0.1))
    return replace(base, name="tiny_htsat", model=model)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, quickly: Quickly) -> run.Trained:
    path = tmp_path_factory.mktemp("runs") / "htsat"
    with quickly():
        run.train(experiment(), path)
    return run.load_trained(path)


def test_it_reads_back_from_json() -> None:
    assert from_json(to_json(experiment())) == experiment()


@pytest.mark.slow
def test_training_moves_every_weight(trained: run.Trained) -> None:
    parts = trained.parts
    (arrays, *_) = parts.rows(open_data(parts.experiment.data.validation))
    fresh = jax.jit(parts.objective.init)(
        jax.random.split(jax.random.key(parts.experiment.train.seed))[0], parts.to_batch(arrays)
    )
    moved = jax.tree.map(
        lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(), fresh, trained.variables
    )
    for path, distance in jax.tree_util.tree_leaves_with_path(moved):
        assert distance > 0, jax.tree_util.keystr(path)


@pytest.mark.slow
def test_it_is_scored_by_class(trained: run.Trained) -> None:
    found = answer.answer(trained, "clips", answer.Answering())
    assert 0 < found["tagging"]["mAP"] <= 1


@pytest.mark.slow
def test_its_tokens_are_no_features_for_another_comparison(
    trained: run.Trained, tmp_path: Path
) -> None:
    pairs = tiny_run.pairs("test", tiny_run.TEST)
    with pytest.raises(ConfigError, match="is Htsat, whose"):
        cached(pairs, str(trained.directory.path), str(tmp_path), tiny_run.tagger().data)
