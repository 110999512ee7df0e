"""The command line: help at once, one sentence for a mistake, every verb reaches its function."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from adiff_jax import cli, run, verbs
from adiff_jax.audio.io import write_audio
from adiff_jax.controls import Control
from adiff_jax.data.builders.table_source import Table, TableSource
from adiff_jax.data.schema import Source
from adiff_jax.data.sources import RecipeFile, open_source
from adiff_jax.data.synth.fixed_sets import ESC10_SETS
from adiff_jax.evaluate.captions import Metric, MetricError
from adiff_jax.experiment import Experiment
from adiff_jax.run import Trained
from tests.top.tiny_run import TRAIN

VERBS = (
    "demo",
    "train",
    "evaluate",
    "explain",
    "compare",
    "convert",
    "export",
    "parity",
    "ablate",
    "data",
    "compile",
    "bench",
    "doctor",
    "metrics",
)

CONFIG = """
from dataclasses import replace

from tests.top.tiny_run import adc


def get_config():
    return adc("unused")
"""

LARGE = """

def large(experiment):
    data = experiment.data
    return replace(experiment, data=replace(data, train=replace(data.train, size=1_000_000)))
"""


@pytest.fixture(autouse=True)
def caches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that the compile cache of the user would have been enabled."""
    enabled: list[str] = []
    monkeypatch.setattr(
        "adiff_jax.train.compilation.enable_compile_cache", lambda: enabled.append("cache")
    )
    return enabled


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """What a command that must exit with 2 says, without its newline."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    assert caught.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said


HELP = f"""
import contextlib, io, sys
from adiff_jax.cli import main
for verb in {VERBS}:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            main([verb, "--help"])
        except SystemExit as stop:
            assert stop.code == 0, (verb, stop.code)
    assert f"adiff {{verb}}" in said.getvalue(), said.getvalue()
    heavy = {{"jax", "tyro", "numpy"}} & set(sys.modules)
    assert not heavy, (verb, heavy)
"""


def test_help_of_every_verb_comes_before_anything_heavy_is_imported():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_verbs_are_those_whose_help_is_tested():
    (verbs,) = [
        action.choices
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    assert tuple(verbs) == VERBS


def test_the_controls_that_can_be_asked_for_are_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
):
    said = fails(capsys, "evaluate", "somewhere", "--control", "silence")
    for control in get_args(Control):
        assert control in said


def test_the_metrics_that_can_be_required_are_those_that_can_be_computed(
    capsys: pytest.CaptureFixture[str],
):
    said = fails(capsys, "evaluate", "somewhere", "--require", "cidre")
    for metric in get_args(Metric):
        assert metric in said


# --- train ------------------------------------------------------------------------------------


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Experiment, str]]:
    """What `run.train` is asked for."""
    asked: list[tuple[Experiment, str]] = []

    def train(experiment: Experiment, workdir: str) -> run.RunDirectory:
        asked.append((experiment, workdir))
        return run.RunDirectory.at(workdir)

    monkeypatch.setattr(run, "train", train)
    return asked


def test_fields_on_the_command_line_override_the_config(
    config: Path, tmp_path: Path, trainings: list[tuple[Experiment, str]]
):
    fields = ["--model.sdd.weight", "2.5", "--train.seed", "3", "--model.freeze-encoder", "True"]
    cli.main(["train", str(config), *fields, "--workdir", str(tmp_path / "there")])
    ((experiment, workdir),) = trainings
    assert experiment.model.sdd.weight == 2.5
    assert experiment.train.seed == 3
    assert experiment.model.freeze_encoder is True
    assert experiment.model.sdd.stage == "off"
    assert workdir == str(tmp_path / "there")


def test_a_size_of_none_on_the_command_line_is_named(
    config: Path, trainings: list[tuple[Experiment, str]], capsys: pytest.CaptureFixture[str]
):
    said = fails(capsys, "train", config, "--data.train.size", "0")
    assert "data.train.size is 0: give at least 1 example" in said
    assert not trainings


def test_a_run_lies_under_its_name_unless_told_otherwise(
    config: Path, trainings: list[tuple[Experiment, str]]
):
    cli.main(["train", str(config)])
    assert trainings[0][1] == "runs/tiny_adc"


def test_an_unknown_field_is_answered_with_the_one_that_was_meant(
    config: Path, capsys: pytest.CaptureFixture[str], trainings: list[tuple[Experiment, str]]
):
    said = fails(capsys, "train", config, "--model.sdd.wieght", "1")
    assert "--model.sdd.wieght" in said
    assert "--model.sdd.weight" in said
    assert trainings == []


def test_help_with_a_config_lists_its_fields_and_their_values(
    config: Path, capsys: pytest.CaptureFixture[str], trainings: list[tuple[Experiment, str]]
):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", str(config), "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for field in ("--model.sdd.weight", "--train.optimizer.learning-rate", "--evaluation.batch"):
        assert field in said
    assert trainings == []


def test_training_needs_a_config(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train"])
    assert caught.value.code == 2
    assert "adiff train CONFIG" in capsys.readouterr().out


@pytest.mark.parametrize("fields", [["--train.steps", "5"], ["--train.steps=5"]])
def test_fields_before_the_config_are_refused(
    config: Path, capsys: pytest.CaptureFixture[str], trainings: list[Any], fields: list[str]
):
    said = fails(capsys, "train", *fields, config)
    assert f"the config file comes before {fields[0]}: adiff train CONFIG" in said
    assert trainings == []
    cli.main(["train", "--workdir", "w", str(config), *fields])
    assert trainings[0][1] == "w"


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--workdir", "nowhere"],
        ["train", "{config}"],
        ["evaluate", "nowhere"],
        ["explain", "nowhere", "a.wav", "b.wav"],
        ["ablate", "absent.py"],
        ["bench", "nothing"],
        ["data", "statistics", "absent.py"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_computes_keeps_its_compiled_programs(
    config: Path,
    caches: list[str],
    trainings: list[Any],
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    def mistaken(*_: Any) -> None:
        raise ValueError("enough")

    monkeypatch.setattr("adiff_jax.demo.demo", mistaken)
    try:
        cli.main([text.format(config=config) for text in arguments])
    except SystemExit as stop:
        assert stop.code == 2
    assert caches == ["cache"]


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "absent.py"], "adiff train: config file "),
        (["evaluate", "nowhere"], "nowhere is no run directory: it has no experiment.json"),
        (["explain", "nowhere", "a.wav", "b.wav"], "nowhere is no run directory"),
        (["explain", "nowhere", "a.wav", "b.wav", "--plot", "b.jpg"], "b.jpg ends in .jpg, but"),
        (["ablate", "absent.py"], "absent.py does not exist"),
        (["data", "synth", "absent.py", "--out", "x"], "absent.py does not exist"),
        (["evaluate", "nowhere", "--spilt", "x"], "unknown argument '--spilt'"),
        (["data", "verify", "absent.csv"], "absent.csv"),
        (["compare", "a.jsonl", "b.jsonl"], "a.jsonl does not exist: `adiff evaluate RUN`"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    said = fails(capsys, *arguments)
    assert message in said
    assert len(said.splitlines()[-1]) > len(message)


def test_a_directory_that_cannot_be_written_is_one_sentence(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Below a file nobody can write, root neither."""
    without_start = CONFIG.replace('adc("unused")', 'replace(adc("unused"), start=())')
    config.write_text(without_start)
    (tmp_path / "file").touch()
    said = fails(capsys, "train", config, "--workdir", tmp_path / "file" / "run")
    assert said.splitlines()[-1].startswith("adiff train: [Errno 20] Not a directory: ")
    assert str(tmp_path / "file") in said
    said = fails(capsys, "train", config, "--workdir", tmp_path / "file")
    assert said == f"adiff train: {tmp_path / 'file'} is a file: choose a directory to train in"


@pytest.mark.parametrize(
    "error",
    [
        OSError(30, "Read-only file system", "runs"),
        OSError(28, "No space left on device"),
        PermissionError(13, "Permission denied", "runs"),
        ImportError("wandb_project is 'p' but wandb is not installed"),
        MetricError("spice is required but failed: no memory"),
    ],
)
def test_a_disk_or_a_package_that_fails_is_one_sentence(
    config: Path,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def failing(*_: Any) -> None:
        raise error

    monkeypatch.setattr(run, "train", failing)
    assert fails(capsys, "train", config) == f"adiff train: {error}"


def test_a_config_whose_import_fails_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    copied = tmp_path / "copied.py"
    copied.write_text("from .base import get_config\n")
    said = fails(capsys, "train", copied)
    assert said.startswith(f"adiff train: {copied} cannot be imported: No module named ")
    assert "beside it" in said


@pytest.fixture
def loaded(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """The trained run without reading it, and compiling for it, again."""
    monkeypatch.setattr(run, "load_trained", lambda path: trained)
    monkeypatch.setattr("adiff_jax.api.load_trained", lambda path: trained)
    return trained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "fold9"], "split 'fold9' is not one of validation, pairs"),
        (["--decode", "bean:4"], "decoding strategy 'bean:4': 'bean' is not known."),
        (["--predictions", "absent.jsonl"], "absent.jsonl"),
        (["--predictions", "a.jsonl", "--decode", "greedy"], "answers already: leave out --decode"),
        (
            ["--predictions", "a.jsonl", "--control", "zero-prefix"],
            "answers already: leave out --control",
        ),
        (["--control", "zero-prefix"], "Adc has no prefix"),
    ],
)
def test_a_mistake_about_a_run_is_one_sentence_and_exit_code_2(
    loaded: Trained, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    said = fails(capsys, "evaluate", "run", *arguments)
    assert said.startswith("adiff evaluate: ")
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.wav", "absent.wav"], "absent.wav: no such file; check the path"),
        (["{before}", "{after}", "--decode", "bean"], "'bean' is not known"),
        (["{before}", "{after}", "--decode", "beam:2", "--n-best", "3"], "n_best=3 needs"),
        (["{before}", "{after}", "--n-best", "0"], "n_best=0: it must be at least 1"),
    ],
)
def test_a_mistake_about_clips_is_one_sentence_and_exit_code_2(
    loaded: Trained,
    clips: dict[str, Path],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
):
    said = fails(capsys, "explain", "run", *(text.format(**clips) for text in arguments))
    assert said.startswith("adiff explain: ")
    assert message in said
    assert len(said.splitlines()) == 1


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, config: Path):
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs, "train", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", str(config)])
    assert caught.value.code == 130


def test_a_fault_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch, config: Path):
    def broken(*_: Any) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr(verbs, "train", broken)
    with pytest.raises(AttributeError):
        cli.main(["train", str(config)])


# --- what is printed --------------------------------------------------------------------------


@pytest.fixture
def clips(test_pairs: Source, tmp_path: Path) -> dict[str, Path]:
    paths = {"before": tmp_path / "before.wav", "after": tmp_path / "after.wav"}
    for path, wave in zip(paths.values(), test_pairs[1].waves, strict=True):
        write_audio(path, wave, 16_000)
    return paths


def test_explain_prints_the_sentences_best_first_and_draws_the_picture(
    loaded: Trained, clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    picture = tmp_path / "pair.png"
    options = ["--decode", "beam:4", "--n-best", "3", "--plot", str(picture)]
    cli.main(["explain", "run", *map(str, clips.values()), *options])
    said = capsys.readouterr()
    scores = [float(line.split()[-1].rstrip(")")) for line in said.out.splitlines()]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"picture: {picture}" in said.err


def test_evaluate_prints_one_table_with_the_baselines(
    loaded: Trained, answered: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    cli.main(["evaluate", "run"])
    said = capsys.readouterr().out
    assert said.startswith("pairs, greedy\n")
    for column in ("tiny_adc", "tiny_adc: most frequent", "tiny_adc: nearest"):
        assert f"| {column} " in said
    assert f"\nBaselines know the first {TRAIN} training pairs.\n" in said


def test_evaluate_prints_the_scores_of_given_answers(
    loaded: Trained, test_pairs: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    truths = [test_pairs.truth(index) for index in range(len(test_pairs))]
    rows = [json.dumps({"id": truth.id, "text": truth.references[0]}) for truth in truths]
    (tmp_path / "other.jsonl").write_text("\n".join(rows))
    cli.main(["evaluate", "run", "--predictions", str(tmp_path / "other.jsonl")])
    said = capsys.readouterr().out
    assert "pairs, given answers" in said
    assert "other.jsonl" in said


def test_given_answers_to_one_of_several_splits_need_its_name(
    loaded: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    experiment = loaded.parts.experiment
    (split,) = experiment.data.test
    splits = (split, replace(split, name="more"))
    several = replace(experiment, data=replace(experiment.data, test=splits))
    trained = replace(loaded, parts=replace(loaded.parts, experiment=several))
    monkeypatch.setattr(run, "load_trained", lambda path: trained)
    said = fails(capsys, "evaluate", "run", "--predictions", "other.jsonl")
    assert said == "adiff evaluate: --predictions: which split is answered? --split pairs | more"


def test_evaluate_prints_the_average_precision_of_a_tagger(
    loaded: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    found = {"mAP": 0.5, "classes": {"rain": 0.5}, "missing": ["bell"]}
    monkeypatch.setattr("adiff_jax.answer.answer", lambda *_: {"tagging": found})
    cli.main(["evaluate", "run"])
    assert json.loads(capsys.readouterr().out) == found


def test_collect_prints_the_table_and_trains_nothing(
    tmp_path: Path, trainings: list[tuple[Experiment, str]], capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "grid.py").write_text(
        "from adiff_jax.ablate import Cell, Grid\nfrom tests.top.tiny_run import adc\n\n"
        "def get_grid():\n    return Grid('g', (Cell('a', adc('x')),), seeds=2, split='pairs')\n"
    )
    cli.main(["ablate", str(tmp_path / "grid.py"), "--collect", "--workdir", str(tmp_path / "g")])
    assert "| a | 0/2 | not run |" in capsys.readouterr().out
    assert trainings == []


def test_a_share_that_is_none_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "grid.py").write_text(
        "from adiff_jax.ablate import Cell, Grid\nfrom tests.top.tiny_run import adc\n\n"
        "def get_grid():\n    return Grid('g', (Cell('a', adc('x')),), seeds=2, split='pairs')\n"
    )
    said = fails(capsys, "ablate", tmp_path / "grid.py", "--cell", "2/2")
    assert said == "adiff ablate: --cell '2/2' must be i/N with 0 <= i < N, such as 3/20"


# --- data -------------------------------------------------------------------------------------


def test_pairs_are_written_as_files_that_verify(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "pairs"
    options = ["--split", "pairs", "--size", "3", "--out", str(out), "--format", "wav"]
    cli.main(["data", "synth", str(config), *options])
    assert f"wrote 3 examples to {out}" in capsys.readouterr().out
    assert len(list(out.rglob("*.wav"))) == 6
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "verify", str(out)])
    assert caught.value.code == 0


@pytest.mark.parametrize("action", ["synth", "build"])
def test_a_source_of_very_many_pairs_is_not_written_without_a_size(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str
):
    config.write_text(CONFIG.replace('adc("unused")', 'large(adc("unused"))') + LARGE)
    said = fails(capsys, "data", action, config, "--out", tmp_path / "pairs")
    many = "1,000,000 pairs of train are many to write"
    assert said == f"adiff data: {many}: say how many with --size"
    cli.main(["data", action, str(config), "--size", "1", "--out", str(tmp_path / "pairs")])


@pytest.mark.parametrize("size", ["0", "-2"])
@pytest.mark.parametrize("action", ["synth", "build"])
def test_fewer_than_one_pair_cannot_be_written(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str, size: str
):
    said = fails(capsys, "data", action, config, "--size", size, "--out", tmp_path / "pairs")
    assert said == f"adiff data: --size is {size}: say at least 1"
    assert not (tmp_path / "pairs").exists()


def test_verify_exits_with_1_when_a_clip_is_broken(config: Path, tmp_path: Path):
    out = tmp_path / "pairs"
    cli.main(["data", "synth", str(config), "--size", "2", "--out", str(out), "--format", "wav"])
    next(out.rglob("*.wav")).write_bytes(b"RIFF")
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "verify", str(out)])
    assert caught.value.code == 1


def test_splits_are_built_into_one_table_directory_that_verifies(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "tables"
    splits = ["--split", "train", "pairs", "--split", "validation"]
    cli.main(["data", "build", str(config), *splits, "--size", "2", "--out", str(out)])
    said = capsys.readouterr().out
    for split in ("train", "pairs", "validation"):
        assert f"{split}: 2 pairs of 4 clips" in said
    assert said.endswith(f"wrote tables to {out}\n")
    assert len(TableSource(Table(str(out), "pairs"))) == 2
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "verify", str(out)])
    said = capsys.readouterr().out
    assert f"{out}, pairs: 4 clips" in said and "broken: none" in said
    # tiny_run's splits are drawn from the same recordings
    assert caught.value.code == 1 and "original recordings in two splits: none" not in said


def test_building_says_which_clips_are_in_two_splits(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config.write_text(
        CONFIG.replace('return adc("unused")', 'ours = adc("unused")')
        + "    return replace(ours, data=replace(ours.data, validation=ours.data.train))\n"
    )
    out = tmp_path / "tables"
    splits = ["--split", "train", "validation"]
    cli.main(["data", "build", str(config), *splits, "--size", "1", "--out", str(out)])
    said = capsys.readouterr().out
    assert "2 clips are in more than one split:" in said
    assert "train train/000000-1 = validation train/000000-1 (SHA-256 " in said


def test_a_copy_of_audiodiffcaps_becomes_tables(
    clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    csv = tmp_path / "dev.csv"
    csv.write_text(
        "key,s1_fn,s2_fn,caption_1,caption_2,caption_3,caption_4,caption_5\n"
        "p0,before.wav,after.wav,add a bell,let a bell ring,,,\n"
    )
    out = tmp_path / "tables"
    splits = ["--train", str(csv), "--test", str(csv)]
    cli.main(["data", "audiodiffcaps", "--audio", str(tmp_path), *splits, "--out", str(out)])
    said = capsys.readouterr().out
    assert "train: 1 pairs of 2 clips\ntest: 1 pairs of 2 clips\n" in said
    assert "2 clips are in more than one split:" in said
    assert list(TableSource(Table(str(out))).texts()) == ["add a bell", "let a bell ring"]


# --- other folds ------------------------------------------------------------------------------


@pytest.fixture
def esc(tmp_path: Path) -> Path:
    """Six classes in the official layout of ESC-50, folds 4 and 5, two recordings each."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for target, category in enumerate(("rain", "sea_waves", "dog", "rooster", "cow", "siren")):
        for fold in (4, 5):
            for place in range(2):
                name = f"{fold}-{target}{place}-A-{target}.wav"
                seed = 100 * target + 10 * fold + place
                wave = np.random.default_rng(seed).uniform(-0.5, 0.5, 16_000)
                (tmp_path / "ESC" / "audio").mkdir(parents=True, exist_ok=True)
                write_audio(tmp_path / "ESC" / "audio" / name, wave.astype(np.float32), 16_000)
                rows.append(f"{name},{fold},{target},{category},{category != 'cow'},0,A")
    (tmp_path / "ESC" / "meta").mkdir()
    (tmp_path / "ESC" / "meta" / "esc50.csv").write_text("\n".join(rows))
    return tmp_path / "ESC"


@pytest.fixture
def recipes(esc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The five sets of fold 5, of eight pairs each, as the command line writes them."""
    small = tuple(replace(fixed, size=8) for fixed in ESC10_SETS)
    monkeypatch.setattr("adiff_jax.data.synth.fixed_sets.ESC10_SETS", small)
    options = ["--folder", str(esc), "--folds", "5", "--out", str(tmp_path / "recipes")]
    cli.main(["data", "recipes", *options])
    return tmp_path / "recipes"


def test_the_five_sets_are_written_for_other_folds(
    capsys: pytest.CaptureFixture[str], recipes: Path, esc: Path
):
    names = [f"fold5_{fixed.name}.json" for fixed in ESC10_SETS]
    assert capsys.readouterr().out.splitlines() == [str(recipes / name) for name in names]
    for name in names:
        source = open_source(RecipeFile(str(recipes / name), str(esc)))
        heard = {name for i in range(8) for name in source.truth(i).recordings}
        assert heard and all(name.startswith("5-") for name in heard)
        assert "cow" not in source.library.labels


def test_all_classes_and_several_folds_can_be_asked_for(
    recipes: Path, esc: Path, capsys: pytest.CaptureFixture[str]
):
    options = ["--folder", str(esc), "--folds", "5", "4", "--subset", "all", "--out", str(recipes)]
    cli.main(["data", "recipes", *options])
    source = open_source(RecipeFile(str(recipes / "fold4-5_natural.json"), str(esc)))
    assert "cow" in source.library.labels
    assert len(source.library.recordings("cow")) == 4
    capsys.readouterr()
    said = fails(capsys, "data", "recipes", "--folder", esc, "--folds", "3", "--out", recipes)
    assert said == f"adiff data: {esc} has no fold 3; it has 4, 5"


def test_a_folder_of_folds_wants_to_know_which(
    esc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    said = fails(capsys, "data", "recipes", "--folder", esc, "--out", tmp_path / "recipes")
    wanted = f"{esc} has the folds 4, 5: say with --folds which to draw from"
    assert said == f"adiff data: {wanted}"


def test_class_folders_have_one_fold_and_backgrounds_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    events = ("bell", "door", "drum", "horn", "whistle")
    for place, label in enumerate(("Street noise", "Hall", *events)):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for number in range(2):
            wave = np.random.default_rng(10 * place + number).uniform(-0.5, 0.5, 16_000)
            path = tmp_path / "mine" / label / f"{number}.wav"
            write_audio(path, wave.astype(np.float32), 16_000)
    small = tuple(replace(fixed, size=8) for fixed in ESC10_SETS)
    monkeypatch.setattr("adiff_jax.data.synth.fixed_sets.ESC10_SETS", small)
    out = tmp_path / "recipes"
    options = ["data", "recipes", "--folder", str(tmp_path / "mine"), "--out", str(out)]
    said = fails(capsys, *options)
    assert "no clips of the background 'rain'; choose backgrounds among bell, door, drum" in said
    cli.main([*options, "--backgrounds", "Street noise", "hall"])
    source = open_source(RecipeFile(str(out / "fold0_single.json"), str(tmp_path / "mine")))
    assert source.library.backgrounds == ("hall", "street_noise")
    assert source.library.events == events


def test_a_trained_run_is_scored_on_the_recipe_of_other_folds(
    recipes: Path,
    esc: Path,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    elsewhere = replace(trained, directory=run.RunDirectory.at(tmp_path / "run"))
    monkeypatch.setattr(run, "load_trained", lambda path: elsewhere)
    recipe = recipes / "fold5_single.json"
    cli.main(["evaluate", "run", "--recipe", str(recipe), "--folder", str(esc)])
    said = capsys.readouterr()
    assert "fold5_single, greedy\n| " in said.out
    answers = (tmp_path / "run" / "predictions" / "fold5_single.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in answers] == [f"single/{i:06d}" for i in range(8)]
    # scenes of 10 s: the model hears the second in their middle, maybe none of what was edited
    assert "attention" not in json.loads((tmp_path / "run" / "metrics.json").read_text())
    # its references are worded as no training caption is
    (note,) = [line for line in said.err.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: fold5_single, references: ")
    assert "outside the vocabulary" in note


def test_a_recipe_named_like_a_split_or_without_its_recordings_is_one_sentence(
    recipes: Path, loaded: Trained, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    taken = (recipes / "fold5_single.json").rename(recipes / "pairs.json")
    said = fails(capsys, "evaluate", "run", "--recipe", taken)
    assert said.startswith("adiff evaluate: --recipe: tiny_adc has a split 'pairs' of its own")
    said = fails(capsys, "evaluate", "run", "--recipe", recipes / "none.json")
    assert f"{recipes}/none.json: no such recipe file" in said
    said = fails(capsys, "evaluate", "run", "--folder", "esc10")
    assert said == "adiff evaluate: --folder says where the recordings of --recipe are; give both"
    said = fails(capsys, "evaluate", "run", "--recipe", taken, "--table", "mine")
    assert "not allowed with argument" in said


Spoil = Callable[[str], str]


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        (lambda text: text, ["--split", "far"], "split 'far' is not one of "),
        (
            lambda text: (
                text.replace(
                    'adc("unused")',
                    'fixed(adc("unused"))',
                )
                + "\n\ndef fixed(e):\n    from adiff_jax.data.sources import RecipeFile\n"
                "    return replace(e, data=replace(e.data, train=RecipeFile('set.json')))\n"
            ),
            ["--size", "3"],
            "--size: RecipeFile has a size of its own",
        ),
    ],
)
def test_a_split_or_size_that_does_not_fit_is_one_sentence(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Spoil,
    arguments: list[str],
    message: str,
):
    config.write_text(spoil(config.read_text()))
    said = fails(capsys, "data", "build", config, "--out", "x", *arguments)
    assert said.startswith(f"adiff data: {message}")


def test_a_folder_without_the_jars_and_a_missing_table_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ADIFF_CACHE", str(tmp_path / "cache"))
    said = fails(capsys, "metrics", "install", "--from", tmp_path)
    assert said.startswith(f"adiff metrics: {tmp_path}")
    assert "does not exist; the folder must hold" in said
    owned = ["--audio", tmp_path, "--train", tmp_path / "no.csv", "--out", tmp_path / "tables"]
    said = fails(capsys, "data", "audiodiffcaps", *owned)
    assert said == f"adiff data: {tmp_path / 'no.csv'}: no such CSV file; check the path"


@pytest.mark.parametrize(
    ("java", "reason", "printed"),
    [(None, None, "tried: SPICE scores"), ("no `java`", "not asked", "not tried: no `java`")],
)
def test_what_is_installed_is_tried_where_there_is_java(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    java: str | None,
    reason: str | None,
    printed: str,
):
    monkeypatch.setattr("adiff_jax.evaluate.spice.install", lambda folder: {"a.jar": "12"})
    monkeypatch.setattr("adiff_jax.evaluate.spice.try_out", lambda: reason)
    monkeypatch.setattr("adiff_jax.evaluate.java.java_missing", lambda: java)
    cli.main(["metrics", "install"])
    assert capsys.readouterr().out.splitlines()[1].startswith(printed)


def test_jars_that_are_installed_but_score_nothing_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("adiff_jax.evaluate.spice.install", lambda folder: {"a.jar": "12"})
    monkeypatch.setattr("adiff_jax.evaluate.spice.try_out", lambda: "no memory")
    monkeypatch.setattr("adiff_jax.evaluate.java.java_missing", lambda: None)
    said = fails(capsys, "metrics", "install")
    assert said.endswith("the jars are installed, but SPICE does not score a sentence: no memory")


def test_statistics_are_printed_as_the_fields_to_set(
    config: Path, capsys: pytest.CaptureFixture[str]
):
    cli.main(["data", "statistics", str(config)])
    printed = capsys.readouterr().out.split()
    assert printed[0] == "--model.encoder.mean" and float(printed[1]) < 0
    assert printed[2] == "--model.encoder.std" and float(printed[3]) > 0
