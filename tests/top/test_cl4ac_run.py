"""CL4AC from training to the command line: single clips are trained on, scored and explained."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax import api, cli, run
from adiff_jax.ablate import Cell, Grid, run_cells
from adiff_jax.answer import Answering, answer
from adiff_jax.api import Explainer
from adiff_jax.arrays import Batch
from adiff_jax.audio.io import write_audio
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.pipeline import ExampleError, load_row
from adiff_jax.data.sources import open_source
from adiff_jax.data.tokenizers import BytePairs, load_tokenizer
from adiff_jax.data.transforms import Encode, EncodeConfig
from adiff_jax.decode.beam import Beam
from adiff_jax.evaluate.predictions import read_predictions
from adiff_jax.experiment import ConfigError, Data, Split, load_experiment
from adiff_jax.experiment_json import to_json
from adiff_jax.grid_table import collect
from adiff_jax.matching import EditedCaption, InBatch, Matching
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.tagger import Tagger
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parts import Parts
from adiff_jax.starting import (
    _without_head,
    pretrained,
    restore,
    starting_from,
    with_vectors,
)
from adiff_jax.word_vectors import train_vectors
from tests.top import tiny_run
from tests.top.conftest import Quickly

RATE = 16_000


@pytest.fixture(scope="module")
def cl4ac_run(tmp_path_factory: pytest.TempPathFactory, quickly: Quickly) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("runs") / "cl4ac"
    with quickly():
        run.train(tiny_run.cl4ac(), path)
    return path


@pytest.fixture(scope="module")
def loaded(cl4ac_run: Path) -> run.Trained:
    return run.load_trained(cl4ac_run)


@pytest.fixture(scope="module")
def scores(loaded: run.Trained, quickly: Quickly) -> dict[str, Any]:
    with quickly():
        return answer(loaded, "clips", Answering())


@pytest.fixture(scope="module")
def captioner(loaded: run.Trained) -> Explainer:
    return Explainer(loaded)


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    source = open_source(tiny_run.captioned("test", tiny_run.TEST))
    return [source[index].waves[0] for index in range(3)]


@pytest.fixture
def shown(captioner: Explainer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command line, with the run read already."""
    monkeypatch.setattr("adiff_jax.train.compilation.enable_compile_cache", lambda: None)
    monkeypatch.setattr(api, "load", lambda path: captioner)
    yield


def logged(path: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def test_only_cl4ac_on_one_cpu_hears_clips_singly() -> None:
    """Elsewhere it would gather a batch, or read large weights again for every row."""
    one = make_mesh(MeshConfig(1), jax.devices()[:1])
    assert Parts(tiny_run.cl4ac(), one, None).hears_singly
    assert not Parts(tiny_run.cl4ac(), make_mesh(MeshConfig()), None).hears_singly
    assert not Parts(tiny_run.adc("unused"), one, None).hears_singly


def test_the_log_tells_of_the_matching_loss(cl4ac_run: Path) -> None:
    step = logged(cl4ac_run, "train")[-1]
    assert {"loss/caption", "loss/matching", "matching_accuracy", "false_negatives"} <= step.keys()
    assert step["recompilations"] == 0
    scored = logged(cl4ac_run, "evaluation")[-1]
    names = ("matching_accuracy", "matching_caption_only", "false_negatives", "sounds.events.f1")
    assert all(0 <= scored[f"validation/{name}"] <= 1 for name in names)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(cl4ac_run: Path, tmp_path: Path) -> None:
    run.train(tiny_run.cl4ac(), tmp_path / "again")

    def clocked(name: str) -> bool:
        return "per_second" in name or name in ("step_seconds", "data_wait_share")

    one, again = (
        [{k: v for k, v in line.items() if not clocked(k)} for line in logged(path, "train")]
        for path in (cl4ac_run, tmp_path / "again")
    )
    assert one == again
    weights = (restore(RunDirectory.at(p))[1] for p in (cl4ac_run, tmp_path / "again"))
    jax.tree.map(np.testing.assert_array_equal, *weights)


def test_the_embedding_starts_from_vectors_of_the_training_captions(
    loaded: run.Trained,
) -> None:
    ours, source = tiny_run.cl4ac(), open_source(tiny_run.cl4ac().data.train)
    zeros = jax.tree.map(jnp.zeros_like, loaded.variables)
    laid = with_vectors(ours, loaded.parts, source, None)(zeros)
    embedding = np.asarray(laid["params"]["decoder"]["embedding"]["embedding"])
    tokenizer = loaded.parts.tokenizer
    vectors = train_vectors(source.texts(), tokenizer, tiny_run.WIDTH, ours.word_vectors)
    assert len(vectors) > 20
    for token in range(len(embedding)):
        np.testing.assert_array_equal(embedding[token], vectors.get(token, 0))
    assert not laid["params"]["decoder"]["output"]["kernel"].any()


def test_every_caption_metric_and_the_sounds_are_scored(scores: dict[str, Any]) -> None:
    assert scores["count"] == scores["sounds"]["count"] == tiny_run.TEST
    assert {"f1", "precision", "recall"} <= scores["sounds"]["events"].keys()
    assert "bleu_4" in scores["captions"]
    assert "structured" not in scores
    assert set(scores["baselines"]) == {"most frequent", "nearest"}
    assert "sounds" in scores["baselines"]["nearest"]


def test_five_references_stand_by_each_prediction(cl4ac_run: Path, scores: dict[str, Any]) -> None:
    rows = read_predictions(cl4ac_run / "predictions" / "clips.jsonl")
    assert len(rows) == tiny_run.TEST
    assert all(len(row.references) == 5 for row in rows)


def test_the_table_of_clips_has_no_row_of_pairs(
    cl4ac_run: Path, loaded: run.Trained, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("adiff_jax.train.compilation.enable_compile_cache", lambda: None)
    monkeypatch.setattr(run, "load_trained", lambda path: loaded)
    cli.main(["evaluate", str(cl4ac_run), "--split", "clips"])
    printed = capsys.readouterr().out
    assert "events.f1" in printed and "background.accuracy" in printed
    assert "operation.accuracy" not in printed and "program.exact" not in printed


def test_controls_know_single_clips(loaded: run.Trained) -> None:
    found = answer(loaded, "clips", Answering(control="shuffled-audio"))
    assert found["control"] == "shuffled-audio"
    assert "sounds" in found


def test_a_clip_alone_says_what_it_says_in_a_batch(
    captioner: Explainer, cl4ac_run: Path, scores: dict[str, Any], waves: list[np.ndarray]
) -> None:
    rows = read_predictions(cl4ac_run / "predictions" / "clips.jsonl")
    for row, wave in zip(rows, waves, strict=False):
        said = captioner(wave, decode="greedy")
        assert said.text == row.text
        assert said.score == pytest.approx(row.logprob, rel=1e-3)


def test_two_clips_are_refused_where_one_is_heard(
    captioner: Explainer, explainer: Explainer, waves: list[np.ndarray]
) -> None:
    with pytest.raises(ValueError, match="hears one clip at a time, not 2: give one clip"):
        captioner(waves[0], waves[1])
    with pytest.raises(ValueError, match="hears two clips at a time, not 1: give two clips"):
        explainer(waves[0])


def test_a_long_clip_is_heard_in_its_middle_and_that_is_said(
    captioner: Explainer, waves: list[np.ndarray]
) -> None:
    said = captioner(np.concatenate([waves[0]] * 3))
    assert said.notes == ("the clip is 3.0 s long; its middle 1 s are heard",)


def test_explain_prints_one_sentence_and_draws_one_spectrogram(
    shown: None, waves: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_audio(tmp_path / "street.wav", waves[0], RATE)
    picture = tmp_path / "street.png"
    cli.main(["explain", "run", str(tmp_path / "street.wav"), "--plot", str(picture)])
    assert "(log-probability" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_explain_of_two_files_is_refused(
    shown: None, waves: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / f"{n}.wav") for n in range(2)]
    for path in paths:
        write_audio(path, waves[0], RATE)
    with pytest.raises(SystemExit):
        cli.main(["explain", "run", *paths])
    assert "hears one clip at a time" in capsys.readouterr().err


def test_a_table_of_clips_is_answered_and_goes_on(
    shown: None, captioner: Explainer, waves: list[np.ndarray], tmp_path: Path
) -> None:
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "first"])
        for number, wave in enumerate(waves):
            write_audio(tmp_path / f"{number}.wav", wave, RATE)
            rows.writerow([f"c{number}", f"{number}.wav"])
    out = tmp_path / "said.jsonl"
    command = ["explain", "run", "--pairs", str(tmp_path / "clips.csv"), "--out", str(out)]
    for _ in range(2):
        with pytest.raises(SystemExit) as caught:
            cli.main(command)
        assert caught.value.code == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["c0", "c1", "c2"]
    assert all("second" not in line for line in lines)


def test_tables_of_clips_are_evaluated(
    loaded: run.Trained, cl4ac_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    build_tables({"test": open_source(tiny_run.captioned("other", 5))}, tmp_path / "mine", False)
    monkeypatch.setattr("adiff_jax.train.compilation.enable_compile_cache", lambda: None)
    monkeypatch.setattr(run, "load_trained", lambda path: loaded)
    cli.main(["evaluate", str(cl4ac_run), "--table", str(tmp_path / "mine")])
    printed = capsys.readouterr().out
    assert "rouge_l" in printed and "background.accuracy" in printed
    assert len(read_predictions(cl4ac_run / "predictions" / "mine.jsonl")) == 5


def refused(experiment: Any, path: Path, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run.train(experiment, path)
    assert not (path / "checkpoints").exists()


def test_pairs_are_no_data_for_it(tmp_path: Path) -> None:
    ours = tiny_run.cl4ac()
    pairs = replace(ours.data, train=tiny_run.pairs("train", 8))
    message = "holds 2 clips, but the model hears 1 clip of an example"
    refused(replace(ours, data=pairs), tmp_path, ExampleError, message)
    pairs = replace(ours.data, validation=tiny_run.pairs("validation", 8))
    refused(replace(ours, data=pairs), tmp_path, ExampleError, message)


def test_clips_are_no_data_for_a_model_of_pairs(tmp_path: Path, tagger_run: Path) -> None:
    adc = tiny_run.adc(str(tagger_run))
    encode = replace(adc.data.encode, max_tokens=40)
    clips = replace(adc.data, train=tiny_run.captioned("train", 8), encode=encode)
    message = "holds 1 clip, but the model hears 2 clips"
    refused(replace(adc, data=clips), tmp_path, ExampleError, message)


def test_vectors_of_words_need_words(tmp_path: Path) -> None:
    ours = tiny_run.cl4ac()
    pieces = replace(
        ours.data, tokenizer=BytePairs(300), encode=replace(ours.data.encode, max_tokens=200)
    )
    model = replace(ours.model, vocab_size=300)
    refused(
        replace(ours, data=pieces, model=model), tmp_path, ValueError, "set data.tokenizer to Words"
    )


def test_negatives_that_may_be_too_long_are_no_rows_of_buckets() -> None:
    ours = tiny_run.cl4ac()
    encode = replace(ours.data.encode, buckets=(20, 40))
    with pytest.raises(ConfigError, match="leave out data.encode.buckets, or take InBatch"):
        replace(ours, data=replace(ours.data, encode=encode))
    in_batch = replace(ours.model, matching=Matching(InBatch()))
    replace(ours, model=in_batch, data=replace(ours.data, encode=encode))


def test_a_tagger_gives_its_encoder_and_a_run_everything(cl4ac_run: Path, tagger_run: Path) -> None:
    ours = tiny_run.cl4ac()
    (start,) = starting_from(ours, [str(tagger_run)]).start
    assert start.subtrees == (("encoder", "encoder"),)
    (start,) = starting_from(ours, [str(cl4ac_run)]).start
    assert start.subtrees == (("", ""),)
    with pytest.raises(ConfigError, match="it trained Cl4ac, which gives nothing to Adc"):
        starting_from(tiny_run.adc("x"), [str(cl4ac_run)])


def laid_over(experiment: Any, run_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fresh variables of zeros with those of a run over them, and those of the run."""
    objective = experiment.objective()
    batch = jax.tree.map(lambda x: x[None], dict(load_row(
        open_source(experiment.data.train),
        Encode(experiment.data.encode, load_tokenizer(run_path)), 0, 0,
    )))  # fmt: skip
    shapes = jax.eval_shape(objective.init, jax.random.key(0), Batch(**batch))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    starts = starting_from(replace(experiment, start=()), [str(run_path)]).start
    return pretrained(starts)(zeros), restore(RunDirectory.at(run_path))[1]


def test_a_run_with_the_loss_starts_one_without(
    cl4ac_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tiny_run.cl4ac()
    silent = replace(ours, model=replace(ours.model, matching=None), word_vectors=None)
    found, given = laid_over(silent, cl4ac_run)
    assert "matching" not in found["params"]
    np.testing.assert_array_equal(
        found["params"]["bridge_1"]["kernel"], given["params"]["bridge_1"]["kernel"]
    )
    assert "a matching head, which is not taken" in capsys.readouterr().err


def test_a_matching_head_is_left_out_where_one_side_has_none() -> None:
    has, lacks = ({"params": dict.fromkeys(names)} for names in (("a", "matching"), ("a", "b")))
    whole = (("", ""),)
    assert _without_head(whole, has, lacks) == (("a", "a"), ("b", "b"))
    assert _without_head(whole, lacks, has) == (("a", "a"), ("b", "b"))
    assert _without_head(whole, has, has) == whole
    assert _without_head((("a", "a"),), has, lacks) == (("a", "a"),)


def test_vectors_do_not_replace_the_words_of_a_run_that_is_started_from(
    loaded: run.Trained, cl4ac_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = starting_from(tiny_run.cl4ac(), [str(cl4ac_run)])
    source = open_source(ours.data.train)
    assert with_vectors(ours, loaded.parts, source, None) is None
    assert "word_vectors are left out" in capsys.readouterr().err


def test_panns_cnn10_gives_its_blocks_to_another_frontend(tmp_path: Path) -> None:
    panns = replace(tiny_run.tagger(), model=Tagger(encoder=Cnn10(), classes=8),
                    data=Data(encode=EncodeConfig(rate=32_000)))  # fmt: skip
    RunDirectory.at(tmp_path).claim(to_json(panns))
    (start,) = starting_from(load_experiment("configs/cl4ac.py"), [str(tmp_path)]).start
    assert len(start.subtrees) == 16
    assert ("encoder/conv_4_2", "encoder/conv_4_2") in start.subtrees
    assert all("norm_0" not in here for _, here in start.subtrees)


def test_n_best_keeps_the_stopping_rule(captioner: Explainer) -> None:
    assert captioner._strategy("beam:3,stops=each", 2) == Beam(3, n_best=2, stops="each")


def test_compat_needs_the_end_of_the_vocabulary(loaded: run.Trained) -> None:
    ours = tiny_run.cl4ac()
    decoder = replace(ours.model.decoder, end_id=5)
    quirky = replace(ours.model, matching=None, decoder=decoder, compat="cl4ac-2021")
    with pytest.raises(ConfigError, match="model.decoder.end_id is 5, but the tokenizer ends"):
        replace(loaded.parts, experiment=replace(ours, model=quirky))


def test_labels_are_no_captions(tmp_path: Path) -> None:
    ours = tiny_run.cl4ac()
    labelled = replace(ours.data, train=tiny_run.mixes("train", 8))
    refused(replace(ours, data=labelled), tmp_path, ConfigError, "LabelledMixes, which has no capt")


@pytest.mark.slow
def test_the_matching_loss_on_pairs_is_trained_and_logged(tmp_path: Path, tagger_run: Path) -> None:
    adc = tiny_run.adc(str(tagger_run))
    model = replace(adc.model, matching=Matching(EditedCaption()))
    run.train(replace(adc, model=model, train=replace(adc.train, steps=1)), tmp_path)
    step = logged(tmp_path, "train")[-1]
    assert np.isfinite(step["loss/matching"])
    assert 0 <= step["false_negatives"] < 1  # the pairs of which nothing changed


@pytest.mark.slow
def test_a_grid_on_cached_clips(tagger_run: Path, tmp_path: Path) -> None:
    """Baseline and loss, trained on the frames of a tagger and told apart by sounds."""
    ours = replace(tiny_run.cl4ac(), word_vectors=None)
    ours = replace(ours, train=replace(ours.train, steps=2, best_metric=""))
    ours = replace(ours, data=replace(ours.data, test=(Split("clips", ours.data.test[0].source),)))
    kinds = {"baseline": None, "another": Matching()}
    cells = [
        Cell(n, replace(ours, model=replace(ours.model, matching=m))) for n, m in kinds.items()
    ]
    grid = Grid("tiny", tuple(cells), 1, "clips", str(tagger_run))
    run_cells(grid, tmp_path / "grid")
    table = collect(grid, tmp_path / "grid")
    assert "| cell | seeds | events.f1 | background.accuracy |" in table
    assert "| another | 1/1 |" in table
    frames = np.load(tmp_path / "grid" / "features" / "train" / "frames.npy", mmap_mode="r")
    assert frames.shape[:2] == (tiny_run.TRAIN, 1)
