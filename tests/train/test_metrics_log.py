"""The log on disk: continued at the restored step, valid JSON, and whole after a full disk."""

import builtins
import json
import os
import struct
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from etils import epath

from adiff_jax.train.metrics_log import JsonLines, MetricsLog, TensorBoard


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_resumed_log_drops_what_will_be_measured_again_and_keeps_events(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(epath.Path(path), None)
    for step in (2, 4, 6):
        log.write({"step": step, "kind": "train", "loss": 1.0})
    log.write({"step": 6, "kind": "event", "event": "checkpoint not saved"})
    with path.open("a") as file:
        file.write('{"step": 8, "kin')  # killed while writing

    resumed = JsonLines(epath.Path(path), 4)
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == [
        "train",
        "train",
        "event",
    ]
    resumed.write({"step": 6, "kind": "train", "loss": 1.0})
    assert steps(path) == [2, 4, 6, 6]


def test_a_run_that_begins_anew_keeps_no_measurement_not_even_of_the_start(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(epath.Path(path), None)
    for step in (0, 2):
        log.write({"step": step, "kind": "evaluation", "accuracy": 0.5})
    JsonLines(epath.Path(path), None).write({"step": 0, "kind": "evaluation", "accuracy": 0.5})
    assert steps(path) == [0]


def test_an_evaluation_that_will_be_made_again_is_dropped_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(epath.Path(path), None)
    for step, kind in ((2, "train"), (2, "evaluation"), (4, "train"), (4, "evaluation")):
        log.write({"step": step, "kind": kind})
    JsonLines(epath.Path(path), 4, evaluate_again=True)
    assert steps(path) == [2, 2, 4]


def test_a_last_line_that_lost_its_newline_is_kept_and_the_next_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "kind": "train"}')
    log = JsonLines(epath.Path(path), 2)
    log.write({"step": 4, "kind": "train"})
    assert steps(path) == [2, 4]


def test_a_kill_while_the_log_is_cut_back_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = epath.Path(tmp_path / "metrics.jsonl")
    for step in (2, 4, 6):
        JsonLines(path, step).write({"step": step, "kind": "train"})
    before = path.read_text()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(os, "replace", killed)
        JsonLines(path, 2)
    assert path.read_text() == before
    JsonLines(path, 2)
    assert steps(tmp_path / "metrics.jsonl") == [2]


def test_numbers_that_json_does_not_know_are_written_as_text(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    JsonLines(epath.Path(path), None).write(
        {"step": 1, "kind": "train", "loss": float("nan"), "norm": float("-inf")}
    )

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert (found["loss"], found["norm"]) == ("nan", "-inf")


def test_lines_that_a_full_disk_refused_are_written_later_and_none_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(epath.Path(path), None)
    log.write({"step": 1, "kind": "train"})

    def full(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        with builtins_open(file, "ab") as handle:
            handle.write(b'{"st')  # half a line still fitted
        raise OSError(28, "No space left on device")

    builtins_open = builtins.open
    with monkeypatch.context() as broken:
        broken.setattr(builtins, "open", full)
        log.write({"step": 2, "kind": "train"})
    assert "No space left on device" in capsys.readouterr().err
    log.write({"step": 3, "kind": "train"})
    assert steps(path) == [1, 2, 3]


def test_tensorboard_gets_the_points(tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    board = TensorBoard(epath.Path(tmp_path), None)
    board.write(3, {"train/loss": 0.5})
    board.close()
    (file,) = tmp_path.iterdir()
    data, events = file.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    values = {(e.step, v.tag): v.simple_value for e in events for v in e.summary.value}
    assert values == {(3, "train/loss"): 0.5}


def test_weights_and_biases_resumes_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            calls.append((step, values))

        def finish(self) -> None:
            calls.append("finished")

    def init(**options: Any) -> Run:
        calls.append(options)
        return Run()

    fake = types.ModuleType("wandb")
    fake.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    run = epath.Path(tmp_path / "demo")
    for step in (1, 2):
        log = MetricsLog(run / "metrics.jsonl", run / "tensorboard", step - 1, False, "project")
        log.write(step, "train", {"loss": 0.5})
        log.close()
    first, point, finished, second, *_ = calls
    assert first == second and first["project"] == "project" and first["name"] == "demo"
    assert point == (1, {"train/loss": 0.5}) and finished == "finished"
