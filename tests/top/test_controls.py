"""A run answers under controls: what it says then does not depend on what it should have heard."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from adiff_jax import run
from adiff_jax.answer import Answering, answer
from adiff_jax.controls import Control, under_control
from adiff_jax.data.controls import Shuffled, ShuffledSource
from adiff_jax.data.features import CachedPairs
from adiff_jax.data.sources import open_source
from adiff_jax.evaluate.predictions import Prediction, read_predictions
from adiff_jax.experiment import ConfigError, Split
from adiff_jax.experiment_json import from_json, to_json
from adiff_jax.opened import open_data
from adiff_jax.run import Trained
from tests.top import tiny_adiff, tiny_run

CONTROLS: tuple[Control, ...] = ("shuffled-audio", "zero-prefix", "random-encoder")
every_control = pytest.mark.parametrize("control", CONTROLS)


@pytest.fixture(scope="module")
def explains(adiff_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run whose weights are drawn so that what it says depends on what it hears."""
    copy = Path(shutil.copytree(adiff_run, tmp_path_factory.mktemp("runs") / "adiff"))
    trained = run.load_trained(copy)
    return replace(trained, variables=tiny_adiff.attentive(trained.variables))


@pytest.fixture(scope="module")
def plain(explains: Trained, quickly: Any) -> list[Prediction]:
    """Its answers when it hears; its scores lie in its directory."""
    with quickly():
        answer(explains, "pairs", Answering())
    return predictions(explains, "pairs")


def predictions(trained: Trained, name: str) -> list[Prediction]:
    return read_predictions(trained.directory.predictions / f"{name}.jsonl")


def kernels(trained: Trained) -> list[np.ndarray]:
    """Those of its encoder."""
    leaves = jax.tree_util.tree_leaves_with_path(trained.variables["params"]["clips"]["encoder"])
    return [np.asarray(leaf) for path, leaf in leaves if path[-1].key == "kernel"]


def logprobs(rows: list[Prediction]) -> np.ndarray:
    return np.array([row.logprob for row in rows])


def under(trained: Trained, control: Control, split: str = "pairs") -> Trained:
    parts, variables = under_control(trained.parts, trained.variables, split, control)
    return replace(trained, parts=parts, variables=variables)


@every_control
def test_a_control_has_files_of_its_own_and_its_scores_say_so(
    explains: Trained, plain: list[Prediction], control: Control
) -> None:
    directory = explains.directory
    before = directory.metrics.read_bytes(), predictions(explains, "pairs")
    returned = answer(explains, "pairs", Answering(control=control))
    name = f"pairs.{control.replace('-', '_')}"
    written = json.loads((directory.predictions / f"{name}.metrics.json").read_text())
    assert written["control"] == returned["control"] == control
    assert written["missing"]["baselines"] == f"answered under {control}"
    assert "baselines" not in written and "similarity" not in written
    assert 0 <= written["explanations"]["events"]["f1"] <= 1
    found = predictions(explains, name)
    assert [row.id for row in found] == [row.id for row in plain]
    assert [row.references for row in found] == [row.references for row in plain]
    assert not np.allclose(logprobs(found), logprobs(plain), atol=0.1)
    assert (directory.metrics.read_bytes(), predictions(explains, "pairs")) == before


def test_a_strategy_comes_after_the_control_in_the_name(
    explains: Trained, plain: list[Prediction]
) -> None:
    answer(explains, "pairs", Answering("beam:2", control="zero-prefix"))
    assert len(predictions(explains, "pairs.zero_prefix.beam_2")) == len(plain)


def test_with_shuffled_audio_each_says_what_the_pair_it_hears_is_answered(
    explains: Trained, plain: list[Prediction]
) -> None:
    answer(explains, "pairs", Answering(control="shuffled-audio"))
    found = predictions(explains, "pairs.shuffled_audio")
    shuffled = ShuffledSource(open_source(tiny_adiff.explanations("test", tiny_adiff.TEST)), 0)
    heard = [plain[shuffled.heard_by(index)] for index in range(len(plain))]
    assert [row.text for row in found] == [row.text for row in heard]
    np.testing.assert_allclose(logprobs(found), logprobs(heard), atol=5e-4)
    assert (np.abs(logprobs(found) - logprobs(plain)) > 1e-3).sum() > 8  # not so its own pair


def test_with_a_zero_prefix_every_pair_that_is_asked_the_same_is_told_the_same(
    explains: Trained, plain: list[Prediction]
) -> None:
    answer(explains, "pairs", Answering(control="zero-prefix"))
    found = predictions(explains, "pairs.zero_prefix")
    assert len({row.text for row in found}) == 1
    np.testing.assert_allclose(logprobs(found), logprobs(found)[0], atol=1e-3)


def test_with_a_random_encoder_nothing_but_the_encoder_is_anew(explains: Trained) -> None:
    control = under(explains, "random-encoder")
    assert control.variables.keys() == explains.variables.keys()
    for collection, tree in explains.variables.items():
        new = control.variables[collection]
        assert jax.tree.map(lambda a: a.shape, new) == jax.tree.map(lambda a: a.shape, tree)
        for name in tree:
            if name != "clips":
                assert new[name] is tree[name]
    again = under(explains, "random-encoder")
    for new, old, same in zip(*map(kernels, (control, explains, again)), strict=True):
        assert np.abs(new - old).max() > 0.01 and new.std() > 0.01
        np.testing.assert_array_equal(new, same)  # the same one every time


def test_the_validation_split_is_answered_under_a_control_too(explains: Trained) -> None:
    found = under(explains, "shuffled-audio", "validation").parts.experiment
    assert found.split("validation") == Shuffled(explains.parts.experiment.data.validation)
    assert found.split("pairs") == explains.parts.experiment.split("pairs")


# --- other models, and what means nothing -----------------------------------------------------


@pytest.mark.parametrize("control", ["shuffled-audio", "random-encoder"])
def test_adc_answers_under_a_control(trained: Trained, tmp_path: Path, control: Control) -> None:
    other = replace(trained, directory=run.RunDirectory.at(tmp_path))
    found = answer(other, "pairs", Answering(control=control))
    assert found["control"] == control and "attention" in found or control == "shuffled-audio"
    assert len(predictions(other, f"pairs.{control.replace('-', '_')}")) == tiny_run.TEST


def test_a_model_without_a_prefix_has_none_to_leave_empty(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="zero-prefix: Adc has no prefix"):
        answer(trained, "pairs", Answering(control="zero-prefix"))


def with_split(trained: Trained, source: Any) -> Trained:
    data = replace(trained.parts.experiment.data, test=(Split("pairs", source),))
    experiment = replace(trained.parts.experiment, data=data)
    return replace(trained, parts=replace(trained.parts, experiment=experiment))


def test_what_is_shuffled_is_not_shuffled_again(trained: Trained) -> None:
    shuffled = with_split(trained, Shuffled(tiny_run.pairs("test", 4)))
    with pytest.raises(ConfigError, match="split 'pairs' is Shuffled, whose clips cannot be"):
        answer(shuffled, "pairs", Answering(control="shuffled-audio"))


@pytest.mark.parametrize("source", [CachedPairs("c"), Shuffled(CachedPairs("c"))])
def test_a_random_encoder_is_not_asked_where_features_are_cached(
    trained: Trained, source: Any
) -> None:
    with pytest.raises(ConfigError, match="split 'pairs' is CachedPairs, which asks no encoder"):
        answer(with_split(trained, source), "pairs", Answering(control="random-encoder"))


def test_a_tagger_answers_under_no_control(tagger_run: Path) -> None:
    tagger = run.load_trained(tagger_run)
    with pytest.raises(ConfigError, match="is a tagger, which says nothing: leave out --control"):
        answer(tagger, "clips", Answering(control="shuffled-audio"))


# --- training ---------------------------------------------------------------------------------


def test_training_on_shuffled_audio_is_an_experiment_like_any_other() -> None:
    base = tiny_adiff.adiff()
    data = replace(
        base.data,
        train=Shuffled(base.data.train, seed=3),
        validation=Shuffled(base.data.validation),
    )
    experiment = replace(base, data=data)
    assert from_json(to_json(experiment)) == experiment
    opened = open_data(experiment.data.train)
    assert isinstance(opened, ShuffledSource) and len(opened) == tiny_adiff.TRAIN
    with pytest.raises(ConfigError, match=r"data\.train\.size is 0"):
        replace(base, data=replace(base.data, train=Shuffled(tiny_run.pairs("train", 0))))


@pytest.mark.slow
def test_a_run_trains_on_shuffled_audio(tmp_path: Path) -> None:
    base = tiny_adiff.adiff()
    data = replace(base.data, train=Shuffled(base.data.train))
    directory = run.train(replace(base, data=data), tmp_path / "run")
    assert run.load_trained(directory.path).step == base.train.steps
