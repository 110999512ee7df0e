"""Killed, terminated, restarted: as if nothing had happened."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.train.state import TrainState
from tests.train.train_tiny import train

STEPS = 40


def lines(run: Path, *kinds: str) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in found if line["kind"] in kinds]


TIMES = (
    "step_seconds",
    "examples_per_second",
    "examples_per_second_per_chip",
    "data_wait_share",
    "flops_per_second",
)


def measured(run: Path) -> list[dict[str, Any]]:
    """The log without what a clock gave."""
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in lines(run, "train", "evaluation")
    ]


def start(run: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.train.train_tiny", str(run), str(STEPS), "0.03"]
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while max((line["step"] for line in lines(run, "train")), default=0) < step:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"step {step} was never reached"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainState]:
    run = tmp_path_factory.mktemp("whole")
    return run, train(run, STEPS)


def assert_as_uninterrupted(run: Path, uninterrupted: tuple[Path, TrainState]) -> None:
    whole, state = uninterrupted
    assert measured(run) == measured(whole)
    assert [line["step"] for line in lines(run, "train")] == list(range(1, STEPS + 1))
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    ours, theirs = (Checkpoints(RunDirectory.at(path).checkpoints) for path in (run, whole))
    restored = ours.restore(abstract)
    assert restored is not None and restored[0] == STEPS
    jax.tree.map(np.testing.assert_array_equal, restored[1], state)
    assert ours.steps() == theirs.steps()


@pytest.mark.slow  # tests/jobs kills a job of two processes three times
def test_killed_three_times_at_random_steps_equals_never_interrupted(
    tmp_path: Path, uninterrupted: tuple[Path, TrainState]
) -> None:
    """Bit for bit: parameters, moments, statistics, average, and every logged number."""
    run = tmp_path / "run"
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    # the first comes before there is a checkpoint
    kills = [draw.randrange(1, 4), *sorted(draw.sample(range(5, STEPS - 10), 2))]
    print(f"kill -9 at steps {kills}")
    for step in kills:
        process = start(run)
        wait_for_step(process, run, step)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    last = start(run)
    errors = last.communicate(timeout=120)[1]
    assert last.returncode == 0, errors
    assert_as_uninterrupted(run, uninterrupted)


@pytest.mark.slow
def test_sigterm_saves_the_step_and_exits_with_143_and_the_run_goes_on(
    tmp_path: Path, uninterrupted: tuple[Path, TrainState]
) -> None:
    run = tmp_path / "run"
    process = start(run)
    wait_for_step(process, run, 9)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    reached = lines(run, "train")[-1]["step"]
    assert 9 <= reached < STEPS
    assert Checkpoints(run / "checkpoints", read_only=True).latest_step() == reached
    (event,) = lines(run, "event")
    assert event["step"] == reached and "SIGTERM" in event["event"]

    train(run, STEPS)
    assert {line["event"] for line in lines(run, "event")} == {event["event"], "resumed"}
    whole, state = uninterrupted
    assert measured(run) == measured(whole)
