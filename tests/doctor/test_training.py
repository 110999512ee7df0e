"""The data of an experiment: what is missing, what cannot be read, and how fast they come."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adiff_jax.audio.io import write_audio
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.data.labelled import LabelledClips
from adiff_jax.doctor import training
from adiff_jax.doctor.examine import Subject, examine, subject_of
from adiff_jax.doctor.finding import Verdict
from adiff_jax.experiment import Experiment, Split
from tests.doctor.small import SMALL
from tests.quick import options
from tests.top import tiny_run


@pytest.fixture(autouse=True)
def quick(tmp_path: Path) -> Iterator[None]:
    with options(jax_disable_most_optimizations=True):
        yield


def labelled(folder: Path, names: list[str]) -> Experiment:
    """The tagger, scored on a table of the clips `names` in `folder`."""
    table = folder / "clips.csv"
    table.write_text("file,labels\n" + "".join(f"{name}.wav,rain\n" for name in names))
    clips = LabelledClips(str(table), str(folder), rate=16_000)
    return replace(SMALL, data=replace(SMALL.data, test=(Split("own", clips),)))


def test_a_clip_that_is_not_there_and_one_that_is_broken_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", np.sin(np.arange(8000)).astype(np.float32), 16_000)
    assert training.data(labelled(tmp_path, ["a"])).verdict is Verdict.OK
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    broken = training.data(labelled(tmp_path, ["a", "b"]))
    assert broken.verdict is Verdict.FAIL and f"own: example 1: {tmp_path / 'b.wav'}" in broken.text
    missing = training.data(labelled(tmp_path, ["a", "c"]))
    assert missing.verdict is Verdict.FAIL and "c.wav" in missing.text
    assert "train 24" in missing.text and "data missing" in missing.way_out


def test_a_start_from_a_run_that_is_not_there_fails(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path / "run")
    assert training.start(SMALL, run).text == "from a fresh state"
    found = training.start(tiny_run.adc(str(tmp_path / "tagger")), run)
    assert found.verdict is Verdict.FAIL and "no run directory" in found.text


def test_a_loader_slower_than_the_step_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = training.trainee(SMALL, RunDirectory.at(tmp_path))
    monkeypatch.setattr(training, "_step_seconds", lambda *_: 0.5)
    for rate, verdict in ((25.0, Verdict.OK), (17.0, Verdict.WARN)):
        monkeypatch.setattr(training, "loader_rate", lambda _, rate=rate: (rate, {}))
        found = training.pace(subject)
        assert found.verdict is verdict and "reads 16 (" in found.text


def test_every_line_of_an_experiment_that_could_run_is_ok(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path / "run")
    found = {line.name: line for line in examine(Subject(SMALL, run))}
    failed = [str(line) for line in found.values() if line.verdict is Verdict.FAIL]
    assert failed == []
    assert {"data", "start", "experiment", "run directory", "pace"} <= found.keys()
    assert "checkpoints need" in found["run directory"].text
    assert not run.path.exists()


def test_what_does_not_fit_together_is_said_and_nothing_is_timed(tmp_path: Path) -> None:
    odd = replace(SMALL, train=replace(SMALL.train, global_batch=9))
    found = {line.name: line for line in examine(Subject(odd, RunDirectory.at(tmp_path)))}
    assert found["experiment"].verdict is Verdict.FAIL and "pace" not in found
    assert "global_batch=9" in found["experiment"].text
    assert found["run directory"].verdict is Verdict.OK


def test_a_config_is_examined_in_the_directory_it_would_have(tmp_path: Path) -> None:
    config = tmp_path / "small.py"
    config.write_text(
        "from adiff_jax.experiment import Experiment\n"
        "def get_config():\n    return Experiment(name='small')\n"
    )
    subject = subject_of(str(config), None)
    assert subject.run.path == RunDirectory.at("runs/small").path
    assert subject_of(str(config), str(tmp_path)).run.path == RunDirectory.at(tmp_path).path
    assert subject_of(None, None).experiment is None
