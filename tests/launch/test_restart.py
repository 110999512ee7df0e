"""The restart loop: what it starts again, what it does not, and that it can be ended."""

import signal
import time
from pathlib import Path

import pytest

from tests.launch.scripts import StandIns, exits, launch, start


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} has not come"
        time.sleep(0.02)


@pytest.mark.parametrize("status", [1, 75, 134, 137, 255])
def test_failures_are_restarted_until_the_command_ends_well(
    programs: StandIns, status: int
) -> None:
    programs.add("job", exits(programs.folder, [status, status]))
    ended = launch("restart.sh", "--pause", 0, "--", "job", "a b", programs=programs.folder)
    assert ended.returncode == 0
    assert programs.calls() == ["job 'a b'"] * 3
    assert f"ended with {status}; restart 1 of 20" in ended.stderr


@pytest.mark.parametrize("status", [0, 2, 126, 127, 130, 143])
def test_what_a_restart_does_not_mend_is_final(programs: StandIns, status: int) -> None:
    programs.add("job", exits(programs.folder, [status]))
    ended = launch("restart.sh", "--pause", 0, "--", "job", programs=programs.folder)
    assert ended.returncode == status
    assert len(programs.calls()) == 1


def test_restarts_are_bounded(programs: StandIns) -> None:
    programs.add("job", "exit 9")
    ended = launch(
        "restart.sh", "--restarts", 2, "--pause", 0, "--", "job", programs=programs.folder
    )
    assert ended.returncode == 9
    assert len(programs.calls()) == 3
    assert "giving up" in ended.stderr


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_which_is_awaited_and_not_restarted(
    programs: StandIns, tmp_path: Path, sent: signal.Signals
) -> None:
    begun, saved = tmp_path / "begun", tmp_path / "saved"
    # It fails with a status that would be restarted, had nobody asked.
    programs.add(
        "job",
        f"trap 'sleep 0.2; touch {saved}; exit 9' TERM; touch {begun}\n"
        "while true; do sleep 0.05; done",
    )
    loop = start("restart.sh", "--pause", 0, "--", "job", programs=str(programs.folder))
    wait_for(begun)
    loop.send_signal(sent)
    assert loop.wait(20) == 9
    assert saved.exists()
    assert len(programs.calls()) == 1


def test_the_loop_can_be_ended_between_two_starts(programs: StandIns) -> None:
    programs.add("job", "exit 1")
    loop = start("restart.sh", "--pause", 60, "--", "job", programs=str(programs.folder))
    assert loop.stderr is not None
    assert "in 60 s" in loop.stderr.readline()
    loop.terminate()
    assert loop.wait(20) == 143
    assert len(programs.calls()) == 1


def test_a_dry_run_prints_the_command_alone(programs: StandIns) -> None:
    programs.add("job")
    shown = launch("restart.sh", "--dry-run", "--", "job", "a b", programs=programs.folder)
    assert shown.stdout == "job a\\ b\n"
    assert not programs.calls()
