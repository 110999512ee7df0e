"""A run directory belongs to one experiment, and says so readably."""

import json
import os
from pathlib import Path

import jax
import pytest

from adiff_jax.checkpoint.run_directory import RunDirectory, RunDirectoryError

EXPERIMENT = json.dumps({"model": {"width": 128, "layers": [1, 2]}, "mesh": {"data": 8}, "seed": 1})


def changed(**fields: object) -> str:
    return json.dumps(json.loads(EXPERIMENT) | fields)


def test_a_claimed_directory_holds_the_experiment_and_its_environment(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path / "a" / "run")
    run.claim(EXPERIMENT)
    assert json.loads(run.read_experiment()) == json.loads(EXPERIMENT)
    environment = json.loads(run.environment.read_text())
    assert environment["versions"]["jax"] == jax.__version__
    assert environment["devices"]["count"] == jax.device_count()


def test_the_same_experiment_may_claim_again_in_any_order_of_fields(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path)
    run.claim(EXPERIMENT)
    run.claim(json.dumps(dict(reversed(json.loads(EXPERIMENT).items()))))


def holding(run: RunDirectory, file: str) -> RunDirectory:
    """The run directory with a result in it."""
    (run.path / file).mkdir(parents=True)
    return run


@pytest.mark.parametrize("file", ["checkpoints/3", "checkpoints/unreadable-3", "predictions/a"])
def test_another_experiment_is_refused_with_every_field_that_differs(
    tmp_path: Path, file: str
) -> None:
    run = holding(RunDirectory.at(tmp_path), file)
    (run.path / "experiment.json").write_text(EXPERIMENT)
    other = changed(model={"width": 256, "layers": [1, 2]}, extra=True)
    with pytest.raises(RunDirectoryError) as error:
        run.claim(other)
    message = str(error.value)
    assert "model.width: 128 in the directory, 256 given" in message
    assert "extra: (absent) in the directory, true given" in message
    assert "layers" not in message and "seed" not in message
    assert "Choose another directory" in message
    assert json.loads(run.read_experiment()) == json.loads(EXPERIMENT)


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(RunDirectoryError, match="notes is a file: choose a directory"):
        RunDirectory.at(tmp_path / "notes").claim(EXPERIMENT)


def test_where_nothing_was_trained_or_answered_another_experiment_may_begin(
    tmp_path: Path,
) -> None:
    run = RunDirectory.at(tmp_path)
    run.claim(EXPERIMENT)
    run.metrics_log.write_text("{}\n")
    holding(run, "checkpoints/3.orbax-checkpoint-tmp-17")  # a kill in the middle of the first save
    run.claim(changed(seed=2))
    assert json.loads(run.read_experiment())["seed"] == 2


def test_the_directory_of_a_training_that_has_saved_nothing_yet_is_not_taken_from_it(
    tmp_path: Path,
) -> None:
    run = RunDirectory.at(tmp_path)
    run.claim(EXPERIMENT)
    with run.locked(), pytest.raises(RunDirectoryError, match="is being trained by process"):
        RunDirectory.at(tmp_path).claim(changed(seed=2))
    assert json.loads(run.read_experiment()) == json.loads(EXPERIMENT)


def test_fields_that_change_no_result_may_change_and_are_renewed(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path)
    run.claim(EXPERIMENT)
    holding(run, "checkpoints/3")
    run.claim(changed(mesh={"data": 4}), may_change=("mesh",))
    assert json.loads(run.read_experiment())["mesh"] == {"data": 4}
    with pytest.raises(RunDirectoryError, match="seed: 1 in the directory, 2 given"):
        run.claim(changed(mesh={"data": 2}, seed=2), may_change=("mesh",))


def test_looking_whether_a_directory_is_ours_writes_nothing(tmp_path: Path) -> None:
    RunDirectory.at(tmp_path / "run").check_owner(EXPERIMENT)
    assert not (tmp_path / "run").exists()
    run = RunDirectory.at(tmp_path)
    run.claim(EXPERIMENT)
    run.check_owner(changed(mesh={"data": 4}), may_change=("mesh",))
    assert json.loads(run.read_experiment()) == json.loads(EXPERIMENT)


def test_of_two_trainers_the_second_is_told_of_the_first(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path)
    with run.locked():
        with pytest.raises(RunDirectoryError, match=f"being trained by process {os.getpid()} on "):
            with RunDirectory.at(tmp_path).locked():
                pass
    with run.locked():
        pass


def test_checkpoints_of_nobody_are_not_taken_over(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path)
    run.checkpoints.mkdir()
    with pytest.raises(RunDirectoryError, match="no experiment.json"):
        run.claim(EXPERIMENT)


def test_a_damaged_or_missing_experiment_names_the_file(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path)
    with pytest.raises(RunDirectoryError, match="is no run directory"):
        run.read_experiment()
    run.experiment.write_text(EXPERIMENT[:20])
    with pytest.raises(RunDirectoryError, match="experiment.json is damaged"):
        run.claim(EXPERIMENT)
