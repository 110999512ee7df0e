"""Jobs of `tests.train.train_tiny`, and what they log and save, on a disk or in a bucket."""

import json
import re
from pathlib import Path
from typing import Any

from etils import epath

from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.storage import located
from tests.jobs.pod import Pod

STEPS = 40
CLOCKED = re.compile("second|share")


def lines(run: epath.Path | Path, kind: str) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in found if line["kind"] == kind]


def measured(run: epath.Path | Path) -> list[dict[str, Any]]:
    """The log without what a clock gave."""
    return [
        {name: value for name, value in line.items() if not CLOCKED.search(name)}
        for line in lines(run, "train") + lines(run, "evaluation")
    ]


def reached(run: epath.Path | Path) -> int:
    return max((line["step"] for line in lines(run, "train")), default=0)


def start(
    where: Path, processes: int = 2, steps: int = STEPS, pause: float = 0.03, run: str = ""
) -> Pod:
    """The job, its processes in directories that are there from the last time. They share the run
    directory, `where`/run or the one that is named."""
    command = ["tests.train.train_tiny", run or str(where / "run"), str(steps), str(pause)]
    return Pod(where, processes, 8 // processes, command)


def finish(where: Path, processes: int = 2, steps: int = STEPS, run: str = "") -> epath.Path:
    with start(where, processes, steps, pause=0.0, run=run) as pod:
        codes = pod.wait()
        assert codes == [0] * processes, pod.log(0)[-4000:] + pod.log(processes - 1)[-4000:]
    return located(run or where / "run")


def state_of(run: epath.Path | Path, step: int = STEPS) -> Any:
    return Checkpoints(run / "checkpoints", read_only=True).restore_variables(step)
