"""The loop: what it refuses, what it logs and saves, and what happens when something fails."""

import dataclasses
import itertools
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.checkpoint.keep import Keep
from adiff_jax.checkpoint.run_directory import RunDirectory, RunDirectoryError
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.train.interruption import Interrupted
from adiff_jax.train.loop import TrainConfig, fit
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.refusals import TrainingError
from adiff_jax.train.state import TrainState, overlay
from tests.train.tiny import Regression, batches_of, rows_of

Rows = dict[str, np.ndarray]
CONFIG = TrainConfig(steps=6, global_batch=16, log_every=2, save_every=2)


def train(run: Path, batches: Any = batches_of(16), **options: Any) -> TrainState:  # noqa: B008
    """`fit` with fields of the config, and arguments of its own, replaced."""
    arguments = {
        name: options.pop(name)
        for name in ("evaluate", "overlay", "seconds_per_example", "shapes_of_batches")
        if name in options
    }
    config = dataclasses.replace(CONFIG, **options)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    return fit(Regression(), batches, config, mesh, RunDirectory.at(run), **arguments)


def lines(run: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def checkpoint_steps(run: Path) -> list[int]:
    return Checkpoints(run / "checkpoints", read_only=True).steps()


def test_the_log_holds_losses_and_rates_when_they_are_due(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, steps=5, seconds_per_example=2.0)
    found = lines(tmp_path, "train")
    assert [line["step"] for line in found] == [2, 4, 5]
    for line in found:
        assert math.isfinite(line["loss"]) and "applied" not in line
        assert line["examples_per_second"] == pytest.approx(16 / line["step_seconds"])
        assert line["audio_seconds_per_second"] == pytest.approx(2 * line["examples_per_second"])
        assert 0 <= line["data_wait_share"] < 1
        assert line["recompilations"] == 0
        assert line["flops_per_second"] > 0 and "mfu" not in line  # the CPU's peak is not known
    said = capsys.readouterr().err
    assert said.count("compiling (once)...") == 1 and "compiling again" not in said
    assert "5/5" in said and "loss=" in said
    assert list((tmp_path / "tensorboard").iterdir())


def test_every_step_is_counted_in_the_window_in_which_it_ended(tmp_path: Path) -> None:
    train(tmp_path, steps=5, log_every=1, save_every=3)
    found = lines(tmp_path, "train")
    assert [line["step"] for line in found] == [1, 2, 3, 4, 5]
    assert all("step_seconds" in line for line in found)


def test_a_term_that_no_row_has_is_not_logged_as_a_number(tmp_path: Path) -> None:
    def batches(start: int) -> Iterator[Rows]:
        for step in itertools.count(start):
            rows = rows_of(step)
            yield {**rows, "labels": -np.abs(rows["labels"])} if step % 2 else rows

    train(tmp_path, batches, steps=4, log_every=1)
    found = lines(tmp_path, "train")
    assert ["loss/absolute" in line for line in found] == [True, False, True, False]
    assert all(math.isfinite(line["loss"]) for line in found)


def test_a_finished_run_is_returned_without_another_step(tmp_path: Path) -> None:
    first = train(tmp_path)
    log = (tmp_path / "metrics.jsonl").read_text()
    again = train(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (tmp_path / "metrics.jsonl").read_text() == log


def test_data_are_asked_for_from_the_restored_step_on(tmp_path: Path) -> None:
    asked: list[int] = []

    def batches(start: int) -> Iterator[Rows]:
        for step in itertools.count(start):
            asked.append(step)
            yield rows_of(step)

    train(tmp_path, batches, steps=4)
    assert asked == [0, 1, 2, 3]
    asked.clear()
    train(tmp_path, batches, steps=7)
    assert asked == [4, 5, 6]


def test_a_broken_checkpoint_is_replaced_by_the_one_before_and_its_steps_are_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(tmp_path / "whole", steps=8)
    train(tmp_path / "run", steps=6)
    assert checkpoint_steps(tmp_path / "run") == [4, 6]
    for file in (tmp_path / "run" / "checkpoints" / "6" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    resumed = train(tmp_path / "run", steps=8)
    assert "WARNING: checkpoint 6 cannot be read" in capsys.readouterr().err
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    assert [line["step"] for line in lines(tmp_path / "run", "train")] == [2, 4, 6, 8]


def test_a_nan_stops_the_run_names_the_batch_and_keeps_the_last_good_state(
    tmp_path: Path,
) -> None:
    def poisoned(start: int) -> Iterator[Rows]:
        for step in itertools.count(start):
            rows = rows_of(step)
            if step == 3:
                rows["audio_1"][5] = np.nan
            yield rows

    good = train(tmp_path / "good", steps=3)
    with pytest.raises(TrainingError) as error:
        train(tmp_path / "bad", poisoned, save_every=0)
    assert "step 4 was refused: loss nan" in str(error.value)
    assert str(list(range(48, 64))) in str(error.value)
    assert "state of step 3 is saved" in str(error.value)
    (event,) = lines(tmp_path / "bad", "event")
    assert event["step"] == 4 and "nan" in event["event"]
    kept = Checkpoints(tmp_path / "bad" / "checkpoints", read_only=True).restore_variables(3)
    jax.tree.map(np.testing.assert_array_equal, kept["params"], good.params)


def test_a_loss_above_its_limit_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="step 1 was refused: .*loss_limit 0.001"):
        train(tmp_path, loss_limit=0.001)
    assert checkpoint_steps(tmp_path) == [0]


def test_evaluation_happens_at_the_start_and_when_due_and_the_best_checkpoint_stays(
    tmp_path: Path,
) -> None:
    scores = {0: 0.95, 2: 0.3, 4: 0.9, 6: 0.5, 8: 0.4, 9: 0.1}

    def evaluate(state: TrainState, step: int) -> dict[str, float]:
        assert int(state.step) == step
        return {"accuracy": scores[step], "other": 0.0}

    train(tmp_path, steps=9, eval_every=2, save_every=3, best_metric="accuracy", evaluate=evaluate)
    found = {line["step"]: line["accuracy"] for line in lines(tmp_path, "evaluation")}
    assert found == scores
    assert checkpoint_steps(tmp_path) == [4, 8, 9]


@pytest.mark.parametrize("stop", [4, 6])
def test_sigterm_is_answered_by_saving_and_the_evaluation_that_was_due_follows(
    tmp_path: Path, stop: int
) -> None:
    evaluated: list[int] = []

    def evaluate(state: TrainState, step: int) -> dict[str, float]:
        evaluated.append(step)
        return {"accuracy": {4: 0.9}.get(step, 0.5) + float(state.step) / 1000}

    def stopping(start: int) -> Iterator[Rows]:
        for step in itertools.count(start):
            if step == stop - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield rows_of(step)

    options = {"eval_every": 2, "best_metric": "accuracy", "evaluate": evaluate}
    whole = train(tmp_path / "whole", **options)
    evaluated.clear()
    with pytest.raises(Interrupted):
        train(tmp_path / "run", stopping, **options)
    assert stop not in evaluated and stop in checkpoint_steps(tmp_path / "run")

    resumed = train(tmp_path / "run", **options)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    assert evaluated == [0, 2, 4, 6]
    runs = tmp_path / "run", tmp_path / "whole"
    assert len({json.dumps(lines(run, "evaluation")) for run in runs}) == 1
    best = [
        Checkpoints(run / "checkpoints", Keep(2, "accuracy"), read_only=True).best_step()
        for run in runs
    ]
    assert best == [4, 4]
    train(tmp_path / "run", **options)
    assert evaluated == [0, 2, 4, 6]


def test_two_trainers_do_not_write_into_one_run(tmp_path: Path) -> None:
    with RunDirectory.at(tmp_path).locked():
        with pytest.raises(RunDirectoryError, match="is being trained by process"):
            train(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_loader_and_checkpoints_are_closed_however_training_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[object] = []
    monkeypatch.setattr(Checkpoints, "close", lambda self: closed.append(self))

    def batches(start: int) -> Iterator[Rows]:
        try:
            yield from batches_of(16)(start)
        finally:
            closed.append(start)

    for step in (0, 6):  # trained, and found finished
        train(tmp_path / "run", batches)
        assert len(closed) == 2 and closed[0] == step
        closed.clear()
    with pytest.raises(TrainingError):
        train(tmp_path / "refused", batches, loss_limit=0.001)
    assert len(closed) == 2 and closed[0] == 0


@pytest.mark.parametrize(
    ("field", "value", "least"),
    [("accumulate", 0, 1), ("keep_last", 0, 1), ("steps", 0, 1), ("save_every", -1, 0)],
)
def test_a_number_that_means_nothing_is_refused(field: str, value: int, least: int) -> None:
    with pytest.raises(ValueError, match=f"train.{field} is {value}; .* at least {least}"):
        TrainConfig(**{field: value})


def test_a_metric_that_nobody_measures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="best_metric='bleu', but there is no evaluation"):
        train(tmp_path, best_metric="bleu")
    with pytest.raises(TrainingError, match="'bleu' is no score of the evaluation; scores: cider"):
        train(tmp_path, best_metric="bleu", evaluate=lambda state, step: {"cider": 1.0})


def test_what_was_trained_for_a_metric_that_is_no_score_is_saved_and_evaluated_by_the_right_one(
    tmp_path: Path,
) -> None:
    evaluated: list[int] = []

    def evaluate(state: TrainState, step: int) -> dict[str, float]:
        evaluated.append(step)
        return {"cider": 1.0}

    message = r"corrected in .*experiment\.json too: the state of step 6 is saved"
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, save_every=0, best_metric="bleu", evaluate=evaluate)
    assert checkpoint_steps(tmp_path) == [6]
    assert lines(tmp_path, "evaluation") == []
    with pytest.raises(TrainingError, match="'blue' is no score"):
        train(tmp_path, save_every=0, best_metric="blue", evaluate=evaluate)
    train(tmp_path, save_every=0, best_metric="cider", evaluate=evaluate)
    assert evaluated == [6, 6, 6]
    keep = Keep(2, "cider")
    assert Checkpoints(tmp_path / "checkpoints", keep, read_only=True).best_step() == 6


def test_a_metric_that_is_no_score_leaves_no_checkpoint_of_the_untrained_state(
    tmp_path: Path,
) -> None:
    with pytest.raises(TrainingError, match="again with train.best_metric corrected$"):
        train(tmp_path, eval_every=2, best_metric="bleu", evaluate=lambda *_: {"cider": 1.0})
    assert checkpoint_steps(tmp_path) == []


def test_a_failing_or_ending_loader_names_the_step(tmp_path: Path) -> None:
    def failing(start: int) -> Iterator[Rows]:
        yield rows_of(start)
        raise OSError("clip 7 is gone")

    with pytest.raises(TrainingError, match="no batch for step 1: clip 7 is gone") as error:
        train(tmp_path, failing)
    assert isinstance(error.value.__cause__, OSError)

    def ending(start: int) -> Iterator[Rows]:
        yield from (rows_of(step) for step in range(start, 2))

    with pytest.raises(TrainingError, match="the data ended at step 2 of 6"):
        train(tmp_path, ending)


def test_a_batch_of_another_size_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="audio_1 has 8 rows; global_batch=16"):
        train(tmp_path, batches_of(8))


def test_a_batch_that_the_mesh_does_not_divide_is_refused_before_anything_is_made(
    tmp_path: Path,
) -> None:
    run = RunDirectory.at(tmp_path / "run")
    config = dataclasses.replace(CONFIG, global_batch=12)
    with pytest.raises(ValueError, match="global_batch=12 .* use 8 or 16"):
        fit(Regression(), batches_of(12), config, make_mesh(MeshConfig()), run)
    assert not run.path.exists()


def test_a_save_that_fails_is_reported_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where the directory should be: fails for every user, until it is gone."""

    def clearing(start: int) -> Iterator[Rows]:
        (tmp_path / "checkpoints").write_text("not a directory")
        for step in itertools.count(start):
            if step == 3:
                (tmp_path / "checkpoints").unlink()
            yield rows_of(step)

    train(tmp_path, clearing)
    assert checkpoint_steps(tmp_path) == [4, 6]
    (event,) = lines(tmp_path, "event")
    assert event["step"] == 2 and "checkpoint not saved" in event["event"]
    assert "step 2: checkpoint not saved" in capsys.readouterr().err
    assert [line["step"] for line in lines(tmp_path, "train")] == [2, 4, 6]


def test_a_run_whose_last_save_fails_does_not_end_well(tmp_path: Path) -> None:
    def blocking(start: int) -> Iterator[Rows]:
        (tmp_path / "checkpoints").write_text("not a directory")
        yield from batches_of(16)(start)

    with pytest.raises(TrainingError, match="the state of step 6 could not be saved"):
        train(tmp_path, blocking)


def growing(start: int) -> Iterator[Rows]:
    """Two steps of one shape, then another."""
    for step in itertools.count(start):
        extra = {"tokens": np.zeros((16, 5 if step < 2 else 7), np.int32)}
        yield rows_of(step) | extra


def test_a_batch_of_another_shape_is_compiled_again_counted_and_says_what_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "run", growing, steps=4, log_every=1)
    said = capsys.readouterr().err
    assert said.count("compiling again: the batch now has tokens int32[16, 7]") == 1
    counted = [line["recompilations"] for line in lines(tmp_path / "run", "train")]
    assert counted == [0, 0, 1, 1]


def test_shapes_that_the_data_have_are_no_recompilations(tmp_path: Path) -> None:
    train(tmp_path, growing, steps=4, shapes_of_batches=2, log_every=1)
    assert {line["recompilations"] for line in lines(tmp_path, "train")} == {0}


def test_nothing_is_compiled_in_the_loop_after_its_first_step(tmp_path: Path) -> None:
    """Counted by JAX itself, so that programs beside the step are seen too."""
    compiled: list[str] = []

    def heard(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def batches(start: int) -> Iterator[Rows]:
        for step in itertools.count(start):
            if step == 2:  # the second step has been dispatched
                compiled.clear()
            yield rows_of(step)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        train(tmp_path, batches, steps=6, save_every=2, log_every=1)
        assert compiled == []
        jax.jit(lambda x: x + 1).lower(np.ones(3)).compile()
        assert compiled != []  # JAX would have said so
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)


def test_pretrained_weights_enter_a_fresh_run_only(tmp_path: Path) -> None:
    def lay(variables: Any) -> Any:
        ones = {"params": {"body": {"kernel": np.ones((12, 32)), "bias": np.ones(32)}}}
        return overlay(variables, ones, (("body", "encoder"),))

    frozen = Optimizer(freeze=("encoder/.*",))
    first = train(tmp_path, overlay=lay, optimizer=frozen, steps=2)
    np.testing.assert_array_equal(first.params["encoder"]["kernel"], 1.0)

    def never(variables: Any) -> Any:
        raise AssertionError("a restored run needs no pretrained weights")

    train(tmp_path, overlay=never, optimizer=frozen, steps=3)


def test_weights_and_biases_that_is_asked_for_but_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match="wandb_project is 'demo' but wandb is not installed"):
        train(tmp_path, wandb_project="demo")


def test_where_the_time_went_is_logged_at_the_end_and_by_every_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(start: int) -> Iterator[Rows]:
        for step in itertools.count(start):
            time.sleep(0.2 if step == 3 else 0)
            yield rows_of(step)

    def evaluate(state: TrainState, step: int) -> dict[str, float]:
        time.sleep(0.1)
        return {"accuracy": 1.0}

    train(tmp_path, slow, steps=4, eval_every=2, evaluate=evaluate)
    (first,) = lines(tmp_path, "goodput")
    assert first["step"] == 4 and first["restart"] == 0 < first["start"]
    assert first["data_wait"] * first["seconds"] > 0.15
    assert first["evaluation"] * first["seconds"] > 0.25  # of steps 0, 2 and 4
    assert first["compile"] > 0 and first["checkpoint"] > 0 and first["goodput"] > 0
    assert "goodput " in capsys.readouterr().err
    shares = [value for name, value in first.items() if name not in ("seconds", "step", "kind")]
    assert sum(shares) == pytest.approx(1)

    minute_ago = time.time() - 60
    os.utime(tmp_path / "metrics.jsonl", (minute_ago, minute_ago))
    train(tmp_path, slow, steps=6, eval_every=2, evaluate=evaluate)
    again, second = lines(tmp_path, "goodput")
    assert again == first and second["step"] == 6
    assert second["start"] == 0 and second["restart"] * second["seconds"] > 59


def test_some_steps_are_traced_and_a_resumed_run_traces_what_is_left_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def traces() -> int:
        return len(list((tmp_path / "profile").rglob("*.xplane.pb")))

    train(tmp_path, steps=2, profile=(4, 6))
    assert not (tmp_path / "profile").exists()
    train(tmp_path, steps=8, profile=(4, 6))
    assert traces() == 1 and "trace of steps 4 to 6" in capsys.readouterr().err
    train(tmp_path, steps=9, profile=(4, 6))
    assert traces() == 1
    train(tmp_path, steps=10, profile=(8, 100))  # to the end
    assert traces() == 2


@pytest.mark.parametrize("steps", [(3, 2), (-1, 2)])
def test_a_trace_of_no_steps_is_refused(steps: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="first step and the one after the last"):
        TrainConfig(profile=steps)
