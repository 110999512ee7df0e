"""Runs: what they need, what they refuse, and where their first weights come from."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax import opened, run, starting, validate
from adiff_jax import parts as parts_room
from adiff_jax.batch_shapes import abstract_batch
from adiff_jax.checkpoint.checkpoints import CheckpointError
from adiff_jax.checkpoint.run_directory import RunDirectoryError
from adiff_jax.data.tokenizers import Words, build_tokenizer
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import ConfigError, Evaluation, Experiment, StartFrom
from adiff_jax.experiment_json import from_json
from adiff_jax.models.sdd import Disentanglement
from adiff_jax.parallel.mesh import MeshConfig
from adiff_jax.run import Trained
from adiff_jax.train.optim import Optimizer
from tests.data.toy_source import CAPTIONS, ToySource
from tests.top import tiny_run


def stored(directory: Path) -> Experiment:
    return from_json((directory / "experiment.json").read_text())


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def same(tree: Any, other: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, tree, other)))


# --- loading ----------------------------------------------------------------------------------


def test_a_trained_run_is_loaded_from_its_directory_and_nothing_else(
    adc_copy: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def closed(*config: Any) -> None:
        raise AssertionError(f"{config} was opened")

    monkeypatch.setattr(run, "open_for", closed)
    monkeypatch.setattr(opened, "open_source", closed)
    monkeypatch.chdir(tmp_path)
    moved = run.load_trained("copied")
    assert moved.step == trained.step == 4
    assert same(moved.variables, trained.variables)
    assert moved.parts.tokenizer.decode([5, 6, 7]) == trained.parts.tokenizer.decode([5, 6, 7])


def test_a_run_trained_on_another_mesh_is_used_on_the_devices_there_are(adc_copy: Path):
    file = adc_copy / "experiment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mesh": {"data": 3, "fsdp": 5}}))
    assert run.load_trained(adc_copy).parts.mesh.size == jax.device_count()


def test_an_evaluation_batch_that_the_devices_do_not_divide_becomes_one_that_they_do(
    adc_copy: Path,
):
    file = adc_copy / "experiment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"evaluation": {"batch": 13}}))
    assert jax.device_count() == 8
    parts = run.load_trained(adc_copy).parts
    assert parts.experiment.evaluation.batch == 16
    parts.check_evaluation()


def test_a_checkpoint_without_tokenizer_is_refused_and_the_file_named(adc_copy: Path):
    (adc_copy / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"copied/tokenizer.json"):
        run.load_trained(adc_copy)


def test_a_tagger_is_loaded_without_its_recordings(
    tagger_run: Path, monkeypatch: pytest.MonkeyPatch
):
    trained_on = opened.open_data(tiny_run.tagger().data.train)
    monkeypatch.setattr(run, "open_for", None)
    assert run.load_trained(tagger_run).parts.classes == trained_on.classes


def test_a_tagger_without_its_classes_is_refused(tagger_run: Path, tmp_path: Path):
    copy = Path(shutil.copytree(tagger_run, tmp_path / "copied"))
    (copy / "classes.json").unlink()
    with pytest.raises(RunDirectoryError, match=r"copied is .* it has no classes\.json"):
        run.load_trained(copy)


def test_a_tagger_does_not_go_on_when_its_classes_have_changed(tagger_run: Path, tmp_path: Path):
    copy = Path(shutil.copytree(tagger_run, tmp_path / "copied"))
    names = json.loads((copy / "classes.json").read_text())
    (copy / "classes.json").write_text(json.dumps(names[::-1]))
    with pytest.raises(RunDirectoryError, match=r"the training recordings now have"):
        run.train(stored(copy), copy)


def test_a_tokenizer_larger_than_the_model_is_refused(adc_copy: Path):
    file = adc_copy / "experiment.json"
    experiment = json.loads(file.read_text())
    experiment["model"]["vocab_size"] = 10
    file.write_text(json.dumps(experiment))
    with pytest.raises(ConfigError, match=r"vocab_size is 10, but the tokenizer has \d+ tokens"):
        run.load_trained(adc_copy)


def test_a_run_without_a_finished_checkpoint_says_so(adc_copy: Path):
    shutil.rmtree(adc_copy / "checkpoints")
    with pytest.raises(CheckpointError, match="copied has no finished checkpoint yet"):
        run.load_trained(adc_copy)


def test_a_directory_that_is_no_run_says_so(tmp_path: Path):
    with pytest.raises(RunDirectoryError, match="no experiment.json"):
        run.load_trained(tmp_path)


# --- training again ---------------------------------------------------------------------------


def test_training_a_finished_run_again_changes_nothing(adc_copy: Path):
    files = [adc_copy / "metrics.jsonl", adc_copy / "tokenizer.json", adc_copy / "experiment.json"]
    before = [file.read_bytes() for file in files]
    checkpoints = sorted(path.name for path in (adc_copy / "checkpoints").iterdir())
    run.train(stored(adc_copy), adc_copy)
    assert [file.read_bytes() for file in files] == before
    assert sorted(path.name for path in (adc_copy / "checkpoints").iterdir()) == checkpoints


def test_the_curves_are_drawn_when_training_ends(adc_copy: Path):
    picture = adc_copy / "curves.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.unlink()
    run.train(stored(adc_copy), adc_copy)
    assert picture.exists()


def test_a_run_cut_short_goes_on_to_the_same_weights(tagger_run: Path, tmp_path: Path):
    whole = run.load_trained(tagger_run)
    cut = Path(shutil.copytree(tagger_run, tmp_path / "cut"))
    shutil.rmtree(cut / "checkpoints" / "2")
    run.train(stored(cut), cut)
    again = run.load_trained(cut)
    assert again.step == whole.step == 2
    assert same(again.variables, whole.variables)
    assert any(line.get("event") == "resumed" for line in lines(cut))


def test_a_directory_of_another_experiment_is_refused_and_the_field_named(adc_copy: Path):
    ours = stored(adc_copy)
    other = replace(ours, train=replace(ours.train, seed=7), label_smoothing=0.3)
    before = (adc_copy / "experiment.json").read_bytes()
    with pytest.raises(RunDirectoryError) as caught:
        run.train(other, adc_copy)
    assert "train.seed: 0 in the directory, 7 given" in str(caught.value)
    assert "label_smoothing: 0.05 in the directory, 0.3 given" in str(caught.value)
    assert (adc_copy / "experiment.json").read_bytes() == before


def test_a_run_that_has_trained_nothing_yet_may_be_begun_as_another_experiment(
    adc_copy: Path, tagger_run: Path, monkeypatch: pytest.MonkeyPatch
):
    """As after a mistake that shows only at the first evaluation."""
    monkeypatch.setattr(run, "fit", lambda *_, **__: None)
    vocabulary = (adc_copy / "tokenizer.json").read_bytes()
    tokenizer = json.loads(vocabulary)
    (adc_copy / "tokenizer.json").write_text(json.dumps(tokenizer).replace("make", "mend"))
    shutil.rmtree(adc_copy / "checkpoints")
    shutil.rmtree(adc_copy / "predictions", ignore_errors=True)  # another test may have answered
    ours = stored(adc_copy)
    other = replace(ours, train=replace(ours.train, best_metric="validation/program.exact"))
    run.train(other, adc_copy)
    assert stored(adc_copy) == other
    assert (adc_copy / "tokenizer.json").read_bytes() == vocabulary

    copy = Path(shutil.copytree(tagger_run, adc_copy.parent / "tagger"))
    names = json.loads((copy / "classes.json").read_text())
    (copy / "classes.json").write_text(json.dumps(names[::-1]))
    shutil.rmtree(copy / "checkpoints")
    run.train(stored(copy), copy)
    assert json.loads((copy / "classes.json").read_text()) == names


def test_what_changes_no_parameter_may_differ_when_a_run_goes_on(
    adc_copy: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "fit", lambda *_, **__: None)
    ours = stored(adc_copy)
    other = replace(ours, evaluation=Evaluation(batch=16), mesh=MeshConfig(data=4, fsdp=2))
    other = replace(other, data=replace(other.data, test=()))
    other = replace(other, train=replace(other.train, log_every=3, profile=(2, 3)))
    run.train(other, adc_copy)
    assert stored(adc_copy) == other


def test_a_run_does_not_go_on_without_its_tokenizer(adc_copy: Path):
    (adc_copy / "tokenizer.json").unlink()
    with pytest.raises(RunDirectoryError, match=r"copied/tokenizer\.json is missing"):
        run.train(stored(adc_copy), adc_copy)
    assert not (adc_copy / "tokenizer.json").exists()


def test_what_may_differ_is_stored_only_when_it_fits(adc_copy: Path):
    before = (adc_copy / "experiment.json").read_bytes()
    with pytest.raises(ConfigError, match="evaluation.batch"):
        run.train(odd_evaluation(stored(adc_copy)), adc_copy)
    assert (adc_copy / "experiment.json").read_bytes() == before


# --- mistakes, before anything is computed ----------------------------------------------------


def small_vocabulary(experiment: Experiment) -> Experiment:
    return replace(experiment, model=replace(experiment.model, vocab_size=20))


def short_captions(experiment: Experiment) -> Experiment:
    encode = EncodeConfig(seconds=tiny_run.SECONDS, max_tokens=4)
    return replace(experiment, data=replace(experiment.data, encode=encode))


def odd_evaluation(experiment: Experiment) -> Experiment:
    return replace(experiment, evaluation=Evaluation(batch=12))


def odd_batch(experiment: Experiment) -> Experiment:
    return replace(experiment, train=replace(experiment.train, global_batch=12))


def frozen_by_pattern(experiment: Experiment) -> Experiment:
    frozen = Optimizer(freeze=("encoder/(conv|norm).*", "encoder/network/.*"))
    return replace(experiment, train=replace(experiment.train, optimizer=frozen))


def frozen_tagger(experiment: Experiment) -> Experiment:
    return frozen_by_pattern(tiny_run.tagger())


def pattern_of_nothing(experiment: Experiment) -> Experiment:
    lost = Optimizer(multipliers=(("encodr/.*", 0.3),))
    return replace(experiment, train=replace(experiment.train, optimizer=lost))


def mistyped_strategy(experiment: Experiment) -> Experiment:
    return replace(experiment, evaluation=Evaluation(batch=8, decode="beem:4"))


def pairs_for_a_tagger(experiment: Experiment) -> Experiment:
    return replace(experiment, model=tiny_run.tagger().model)


def other_classes(experiment: Experiment) -> Experiment:
    tagger = tiny_run.tagger()
    return replace(tagger, model=replace(tagger.model, classes=3))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (small_vocabulary, r"vocab_size is 20, but the tokenizer has \d+ tokens: set it to at"),
        (short_captions, "max_tokens is 4; set it to at least"),
        (odd_evaluation, r"evaluation.batch: .*multiple of 8"),
        (odd_batch, r"global_batch=12 .*multiple of 8"),
        (frozen_by_pattern, "freeze holds every .* encoder.* set model.freeze_encoder to True"),
        (frozen_tagger, "freeze holds every .* encoder.* a tagger trains its encoder"),
        (pattern_of_nothing, "multipliers: 'encodr/.*' matches no parameter; paths look like"),
        (mistyped_strategy, "evaluation.decode: decoding strategy 'beem:4': 'beem' is not known"),
        (pairs_for_a_tagger, "data.train is SynthPairs: a tagger trains on LabelledMixes"),
        (other_classes, r"model.classes is 3, but the training source has 8 classes: \w+, "),
    ],
)
def test_a_mistake_in_an_experiment_is_named_and_leaves_the_directory_free(
    spoil: Callable[[Experiment], Experiment], message: str, tmp_path: Path
):
    with pytest.raises(ValueError, match=message):
        run.train(spoil(tiny_run.adc("nowhere")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pretrained_weights_that_are_missing_or_do_not_fit_leave_the_directory_free(
    tagger_run: Path, tmp_path: Path
):
    with pytest.raises(RunDirectoryError, match="nowhere is no run directory"):
        run.train(tiny_run.adc(str(tmp_path / "nowhere")), tmp_path / "run")
    small = replace(tiny_run.adc("unused"), start=(StartFrom(str(tagger_run)),))
    with pytest.raises(ValueError, match=r"encoder/conv_1/kernel: \(5, 5, 1, 4\)"):
        run.train(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- captions and the vocabulary --------------------------------------------------------------


def worded(**changes: Any) -> Experiment:
    ours = tiny_run.adc("unused")
    return replace(ours, start=(), data=replace(ours.data, **changes))


def test_training_captions_with_words_that_the_stored_tokenizer_lacks_are_refused():
    tokenizer = build_tokenizer(Words(), CAPTIONS)
    source = ToySource(8, (*CAPTIONS, "add a zebra", "add a zebra loudly"))
    with pytest.raises(ConfigError, match=r"data.train: 2 words .*: zebra \(2\), loudly \(1\)\. "):
        parts_room.assemble(worded(), source, tokenizer)


def test_captions_are_measured_with_a_stored_tokenizer_too():
    source = ToySource(8, (*CAPTIONS, "add a dog " * 6))
    with pytest.raises(ValueError, match="takes 19 tokens with its end, but max_tokens is 16"):
        parts_room.assemble(worded(), source, build_tokenizer(Words(), CAPTIONS))


def test_words_that_are_dropped_as_configured_are_said(capsys: pytest.CaptureFixture[str]):
    source = ToySource(8, (*CAPTIONS, "add a zebra"))
    parts = parts_room.assemble(worded(tokenizer=Words(min_count=2)), source, None)
    assert parts.tokenizer.unknown("zebra dog") == ["zebra"]
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("note: data.tokenizer.min_count is 2: ")
    assert "outside the vocabulary" in said and "zebra (1)" in said


def test_validation_captions_that_cannot_be_said_are_counted_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("fit", "plot_curves"):
        monkeypatch.setattr(run, name, lambda *_, **__: None)
    other = replace(tiny_run.pairs("validation", 8), tier=1)
    run.train(worded(validation=other, encode=replace(tiny_run.ENCODE, max_tokens=64)), tmp_path)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("note: data.validation, references: ") and "whereas (" in said


# --- pretrained weights -----------------------------------------------------------------------

SEVEN = 7.0


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    """Variables of the tiny ADC, all of one value."""
    experiment = tiny_run.adc("unused")
    objective, batch = experiment.objective(), abstract_batch(experiment)
    shapes = jax.eval_shape(objective.init, jax.random.key(0), batch)
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, SEVEN, leaf.dtype), shapes)


def test_a_grown_kernel_begins_with_the_pretrained_channel_and_ends_with_zeros(
    tagger_run: Path, fresh: dict[str, Any]
):
    starts = (StartFrom(str(tagger_run), grow_channels=True),)
    found = starting.pretrained(starts)(fresh)
    _, source, _ = run.restore(run.RunDirectory.at(tagger_run))
    kernel, given = (tree["params"]["encoder"]["conv_1"]["kernel"] for tree in (found, source))
    np.testing.assert_array_equal(kernel[:, :, :1], given)
    np.testing.assert_array_equal(kernel[:, :, 1:], np.zeros_like(given))
    for name in ("conv_2", "conv_3", "network"):
        assert same(found["params"]["encoder"][name], source["params"]["encoder"][name])
    assert same(found["batch_stats"]["encoder"], source["batch_stats"]["encoder"])


def test_nothing_but_the_named_subtrees_is_overlaid(tagger_run: Path, fresh: dict[str, Any]):
    found = starting.pretrained((StartFrom(str(tagger_run), grow_channels=True),))(fresh)
    others = {name: tree for name, tree in found["params"].items() if name != "encoder"}
    assert others
    assert all((leaf == SEVEN).all() for leaf in jax.tree.leaves(others))


def test_an_encoder_with_fewer_channels_is_refused_with_both_shapes(
    tagger_run: Path, fresh: dict[str, Any]
):
    with pytest.raises(ValueError) as caught:
        starting.pretrained((StartFrom(str(tagger_run)),))(fresh)
    assert "encoder/conv_1/kernel: (5, 5, 1, 4) in the pretrained weights" in str(caught.value)
    assert "(5, 5, 2, 4) in the model" in str(caught.value)


def test_growing_reaches_a_whole_tree_and_changes_no_other_kernel():
    small = {"params": {"a": {"kernel": np.ones((3, 3, 1, 2))}, "b": {"kernel": np.ones((4, 2))}}}
    large = {"params": {"a": {"kernel": np.ones((3, 3, 2, 2))}, "b": {"kernel": np.ones((5, 2))}}}
    found = starting.grown(small, large, (("", ""),))["params"]
    np.testing.assert_array_equal(found["a"]["kernel"].sum(axis=(0, 1)), [[9, 9], [0, 0]])
    np.testing.assert_array_equal(found["b"]["kernel"], np.ones((4, 2)))


def test_growing_leaves_out_what_is_not_below_the_named_subtree():
    small = {
        "params": {"a": {"kernel": np.ones((3, 3, 1, 2))}, "b": {"kernel": np.ones((3, 3, 1, 2))}}
    }
    large = {"params": {"x": {"kernel": np.ones((3, 3, 2, 2))}}}
    found = starting.grown(small, large, (("a", "x"),))["params"]
    assert found["a"]["kernel"].shape == (3, 3, 2, 2)
    assert found["b"]["kernel"].shape == (3, 3, 1, 2)


def test_training_starts_from_the_pretrained_encoder(trained: Trained, tagger_run: Path):
    """After four steps the encoder is still the tagger's but for four small updates."""
    _, source, _ = run.restore(run.RunDirectory.at(tagger_run))
    found = np.asarray(trained.variables["params"]["encoder"]["conv_2"]["kernel"])
    given = source["params"]["encoder"]["conv_2"]["kernel"]
    assert 0 < np.abs(found - given).max() < 0.1 * np.abs(given).max()


# --- the evaluation that training calls -------------------------------------------------------


@pytest.mark.parametrize(
    "system", ["tagger_run", "adc_run", pytest.param("adiff_run", marks=pytest.mark.slow)]
)
def test_a_second_shape_is_never_compiled_in_the_loop(system: str, request: pytest.FixtureRequest):
    logged = [x for x in lines(request.getfixturevalue(system)) if x["kind"] == "train"]
    assert logged and {line["recompilations"] for line in logged} == {0}


def test_training_logs_losses_and_scores_of_the_validation_pairs(adc_run: Path):
    (scores,) = [line for line in lines(adc_run) if "validation/loss/caption" in line]
    assert {
        "validation/token_accuracy",
        "validation/operation.accuracy",
        "validation/program.exact",
    } <= scores.keys()
    assert scores["validation/loss/caption"] == pytest.approx(np.log(128), rel=0.5)


@pytest.mark.parametrize("stage", ["off", "late"])
def test_with_sdd_its_losses_and_controls_are_evaluated_too(stage: str):
    experiment = tiny_run.adc("unused")
    sdd = Disentanglement(stage=stage)
    experiment = replace(experiment, model=replace(experiment.model, sdd=sdd))
    objective, batch = experiment.objective(), abstract_batch(experiment)
    variables = jax.eval_shape(objective.init, jax.random.key(0), batch)
    found = jax.eval_shape(lambda *given: validate._terms(objective, *given), variables, batch)
    of_sdd = {
        "loss/similarity",
        "loss/discrepancy",
        "sdd_retrieval",
        "sdd_none_cosine",
        "retrieval_repaired",
        "identical_cosine",
    }
    assert found.keys() - of_sdd == {"loss/caption", "token_accuracy"}
    assert found.keys() & of_sdd == (set() if stage == "off" else of_sdd)


@pytest.mark.slow
def test_sdd_is_trained_and_its_controls_are_measured_from_the_start_on(tmp_path: Path):
    experiment = tiny_run.adc("unused")
    experiment = replace(
        experiment,
        model=replace(experiment.model, sdd=Disentanglement(stage="late")),
        train=replace(experiment.train, steps=2, eval_every=1),
        start=(),
    )
    run.train(experiment, tmp_path)
    measured = [line for line in lines(tmp_path) if line["kind"] == "evaluation"]
    assert [line["step"] for line in measured] == [0, 1, 2]
    for scores in measured:
        for name in ("sdd_retrieval", "retrieval_repaired"):
            assert 0 <= scores[f"validation/{name}"] <= 1
        assert -1.001 <= scores["validation/identical_cosine"] <= 1.001
        assert scores["validation/loss/similarity"] > 0
        assert "validation/loss/discrepancy" in scores
    trained = [line for line in lines(tmp_path) if line["kind"] == "train"]
    for line in trained:
        parts = [line[f"loss/{name}"] for name in ("caption", "similarity", "discrepancy")]
        assert line["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert len(trained) == 2


def test_a_mean_over_batches_weighs_every_example_alike():
    batches = [{"loss": (6.0, 3.0), "none": (0.0, 0.0)}, {"loss": (1.0, 1.0), "none": (0.0, 0.0)}]
    assert validate.term_means(batches) == {"loss": 7 / 4}


# --- buckets ----------------------------------------------------------------------------------


def bucketed(buckets: tuple[int, ...], size: int) -> Experiment:
    experiment = replace(tiny_run.adc("unused"), start=())
    encode = replace(experiment.data.encode, buckets=buckets)
    source = tiny_run.pairs("train", size)
    return replace(experiment, data=replace(experiment.data, train=source, encode=encode))


@pytest.mark.slow
def test_training_in_buckets_compiles_once_for_each_and_logs_every_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run.train(bucketed((8, 16), size=48), tmp_path)
    said = capsys.readouterr().err
    (again,) = [line for line in said.splitlines() if "compiling again" in line]
    assert "tokens int32[8, 8]" in again or "tokens int32[8, 16]" in again
    logged = [line["step"] for line in lines(tmp_path) if line["kind"] == "train"]
    assert logged == [1, 2, 3, 4]
    assert {line["recompilations"] for line in lines(tmp_path) if line["kind"] == "train"} == {0}


def test_buckets_that_hold_no_batch_or_of_a_tagger_leave_the_directory_free(tmp_path: Path):
    with pytest.raises(ValueError, match="bucket 16 .* holds 6 rows.* would never be read"):
        run.train(bucketed((8, 16), size=24), tmp_path / "run")
    tagger = tiny_run.tagger()
    encode = replace(tagger.data.encode, buckets=(16,))
    with pytest.raises(ConfigError, match="buckets: a tagger reads no captions"):
        run.train(replace(tagger, data=replace(tagger.data, encode=encode)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
