"""The batch script, with stand-ins for srun, squeue and scontrol."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.launch.scripts import LAUNCH, StandIns, environment, exits, launch

ROOT = LAUNCH.parent


def array(index: int, last: int, count: int) -> dict[str, str]:
    """What SLURM says of an array that begins at 0."""
    return {
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_ARRAY_TASK_MIN": "0",
        "SLURM_ARRAY_TASK_MAX": str(last),
        "SLURM_ARRAY_TASK_COUNT": str(count),
    }


def cluster(programs: StandIns, ends: list[int], state: str) -> None:
    programs.add("srun", exits(programs.folder, ends))
    programs.add("squeue", f"echo {state}")
    programs.add("scontrol")
    programs.add("sleep")


def submit(programs: StandIns, *command: str, **variables: str) -> int:
    ended = launch(
        "slurm.sh", "--", *command, programs=programs.folder, SLURM_JOB_ID="17", **variables
    )
    return ended.returncode


def test_the_step_runs_the_command_on_all_nodes(programs: StandIns) -> None:
    cluster(programs, [], "RUNNING")
    assert submit(programs, "adiff", "train", "a b") == 0
    assert programs.calls("srun") == ["srun '--kill-on-bad-exit=0' 'adiff' 'train' 'a b'"]


def test_a_crash_is_restarted_on_the_same_nodes(programs: StandIns) -> None:
    cluster(programs, [134], "RUNNING")
    assert submit(programs, "adiff") == 0
    assert len(programs.calls("srun")) == 2
    assert not programs.calls("scontrol")


def test_a_job_that_saved_goes_back_into_the_queue(programs: StandIns) -> None:
    cluster(programs, [143], "RUNNING")
    assert submit(programs, "adiff") == 143
    assert len(programs.calls("srun")) == 1
    assert programs.calls("scontrol") == ["scontrol 'requeue' '17'"]


@pytest.mark.parametrize(("status", "state"), [(143, "CANCELLED"), (2, "RUNNING")])
def test_a_cancelled_job_and_an_error_of_use_do_not(
    programs: StandIns, status: int, state: str
) -> None:
    cluster(programs, [status], state)
    assert submit(programs, "adiff") == status
    assert len(programs.calls("srun")) == 1
    assert not programs.calls("scontrol")


def test_an_array_has_one_share_of_the_grid_in_each_job(programs: StandIns) -> None:
    cluster(programs, [], "RUNNING")
    command = ("adiff", "ablate", "grid.py", "--cell", "{cell}")
    assert submit(programs, *command, **array(index=3, last=11, count=12)) == 0
    (call,) = programs.calls("srun")
    assert call.endswith("'adiff' 'ablate' 'grid.py' '--cell' '3/12'")


def test_a_part_of_an_array_is_refused(programs: StandIns) -> None:
    cluster(programs, [], "RUNNING")
    assert submit(programs, "adiff", **array(index=7, last=7, count=2)) == 2
    assert not programs.calls("srun")


def test_a_share_outside_an_array_is_refused(programs: StandIns) -> None:
    cluster(programs, [], "RUNNING")
    assert submit(programs, "adiff", "ablate", "grid.py", "--cell", "{cell}") == 2


def test_processes_get_the_cpus_that_were_asked_for(programs: StandIns) -> None:
    programs.add("srun", "[[ $SRUN_CPUS_PER_TASK == 16 ]] || exit 2")
    assert submit(programs, "adiff", SLURM_CPUS_PER_TASK="16") == 0


def run_copy(folder: Path, programs: StandIns, submitted_from: Path) -> int:
    """The exit status of a copy elsewhere: that is how sbatch runs a script."""
    copy = shutil.copy(LAUNCH / "slurm.sh", folder / "slurm_script")
    ended = subprocess.run(
        [copy, "--", "adiff"],
        env=environment(programs.folder, SLURM_SUBMIT_DIR=str(submitted_from)),
        capture_output=True,
        check=False,
    )
    return ended.returncode


def test_it_finds_the_others_where_it_was_submitted(programs: StandIns, tmp_path: Path) -> None:
    cluster(programs, [], "RUNNING")
    assert run_copy(tmp_path, programs, ROOT) == 0
    assert run_copy(tmp_path, programs, tmp_path) == 2


def test_a_dry_run_prints_the_step(programs: StandIns) -> None:
    cluster(programs, [], "RUNNING")
    shown = launch("slurm.sh", "--dry-run", "--", "adiff", "train", programs=programs.folder)
    assert shown.stdout.endswith("/restart.sh -- srun --kill-on-bad-exit=0 adiff train\n")
    assert not programs.calls()


def test_sigterm_comes_to_the_processes_before_the_end() -> None:
    """With "B:" it would come to the batch script alone."""
    lines = (LAUNCH / "slurm.sh").read_text().splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert {"--requeue", "--open-mode=append", "--signal=TERM@120"} <= set(options)
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    last_option = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert last_option < first_command  # sbatch reads no further
