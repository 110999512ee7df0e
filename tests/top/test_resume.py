"""ADC-SDD with a data worker, killed and restarted: as if nothing had happened."""

import json
import os
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
from tests.top.train_adc import STEPS

TIMES = (
    "step_seconds",
    "examples_per_second",
    "examples_per_second_per_chip",
    "audio_seconds_per_second",
    "audio_seconds_per_second_per_chip",
    "data_wait_share",
    "flops_per_second",
)
QUICK = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling takes longer than computing here
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def measured(run: Path) -> list[dict[str, Any]]:
    """The log without what a clock gave."""
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [
        {name: value for name, value in line.items() if name not in TIMES}
        for line in found
        if line["kind"] in ("train", "evaluation")
    ]


def start(run: Path) -> subprocess.Popen[str]:
    cache = {"JAX_COMPILATION_CACHE_DIR": str(run.parent / "compiled")}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.top.train_adc", str(run)],
        cwd=Path(__file__).parents[2],
        env=os.environ | QUICK | cache,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(run: Path) -> None:
    process = start(run)
    errors = process.communicate(timeout=600)[1]
    assert process.returncode == 0, errors


def kill_after_step(run: Path, step: int) -> None:
    process, deadline = start(run), time.monotonic() + 600
    while max((line["step"] for line in measured(run)), default=0) < step:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"step {step} was never reached"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    os.killpg(process.pid, signal.SIGKILL)  # its worker


@pytest.mark.slow
def test_adc_sdd_killed_twice_equals_never_interrupted(tmp_path: Path) -> None:
    """Bit for bit: parameters, statistics, and every logged number."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    finish(whole)
    steps = sorted(random.sample(range(3, STEPS - 1), 2))
    print(f"kill -9 at steps {steps}")
    for step in steps:
        kill_after_step(run, step)
    finish(run)
    assert measured(run) == measured(whole)
    assert sum(line["kind"] == "train" for line in measured(run)) == STEPS
    found, expected = (
        Checkpoints(path / "checkpoints", read_only=True).restore_variables(STEPS)
        for path in (run, whole)
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)
