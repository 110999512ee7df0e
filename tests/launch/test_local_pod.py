"""The fake pod: who its processes are, what they share, and how they end."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.launch.scripts import StandIns, launch, places, python, start

PLACE = """
import os
for name in ("ADIFF_COORDINATOR", "ADIFF_PROCESSES", "ADIFF_PROCESS", "XLA_FLAGS"):
    print(os.environ[name])
"""
PRIVATE = """
import os
for place in (".", *(os.environ[name] for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"))):
    open(os.path.join(place, "mine"), "x").close()  # fails where another has made it
    print(os.path.realpath(place))
"""
SAVE = """
import os, signal, sys, time
def save(*_):
    time.sleep(0.1)
    print("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


def test_every_process_has_its_place_in_one_job() -> None:
    ended = launch("local_pod.sh", 3, "--devices-per-process", 2, "--", *python(PLACE))
    assert ended.returncode == 0, ended.stderr
    said = places(ended.stdout)
    assert sorted(said) == [0, 1, 2]
    for process, (coordinator, processes, number, flags) in said.items():
        assert coordinator == said[0][0]
        assert (processes, number) == ("3", str(process))
        # The tests' own flag, of eight devices, is replaced; others are kept.
        assert flags.split().count("--xla_force_host_platform_device_count=2") == 1
        assert flags.count("device_count") == 1
    host, _, port = said[0][0].partition(":")
    assert host == "127.0.0.1"
    with socket.create_server((host, int(port))):
        pass  # nothing listens there


def test_other_flags_of_the_compiler_stay() -> None:
    shown = launch("local_pod.sh", 1, "--dry-run", "--", "x", XLA_FLAGS="--xla_one=1 --xla_two=2")
    assert (
        "XLA_FLAGS=--xla_one=1\\ --xla_two=2\\ --xla_force_host_platform_device_count=1 x"
        in shown.stdout
    )


def test_processes_share_nothing_but_the_declared_directory(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    code = f"{PRIVATE}\nprint(os.path.realpath('shared'))\n"
    ended = launch("local_pod.sh", 3, "--shared", shared, "--", *python(code))
    assert ended.returncode == 0, ended.stdout
    said = places(ended.stdout)
    private = [path for lines in said.values() for path in lines[:-1]]
    assert len(private) == len(set(private)) == 3 * 4
    assert {lines[-1] for lines in said.values()} == {str(shared)}
    assert not any(os.path.exists(path) for path in private)  # temporary
    assert shared.exists()


def test_without_a_declared_directory_none_is_shared() -> None:
    code = "import os; print(os.listdir())"
    assert places(launch("local_pod.sh", 1, "--", *python(code)).stdout) == {0: ["[]"]}


def test_private_directories_stay_where_they_are_asked_for(tmp_path: Path) -> None:
    code = "open('left', 'w').close()"
    assert launch("local_pod.sh", 2, "--root", tmp_path, "--", *python(code)).returncode == 0
    assert sorted(path.parts[-3] for path in tmp_path.glob("*/work/left")) == ["0", "1"]


def test_one_failure_ends_all_and_gives_the_exit_status() -> None:
    code = f"""
import os, sys, time
if os.environ["ADIFF_PROCESS"] == "1":
    sys.exit(7)
{SAVE}"""
    begun = time.monotonic()
    ended = launch("local_pod.sh", 3, "--patience", 0, "--", *python(code))
    assert ended.returncode == 7
    assert "process 1 ended with 7" in ended.stderr
    assert time.monotonic() - begun < 10


def test_others_may_end_by_themselves_first() -> None:
    code = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("was asked to end"))
if os.environ["ADIFF_PROCESS"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.5)
print("noticed")
sys.exit(134)
"""
    ended = launch("local_pod.sh", 3, "--patience", 20, "--", *python(code))
    assert ended.returncode == 128 + signal.SIGKILL
    assert places(ended.stdout) == {0: ["noticed"], 2: ["noticed"]}


def test_who_does_not_end_is_killed_with_its_children(programs: StandIns, tmp_path: Path) -> None:
    programs.add("sleep", "exec /bin/sleep 0.3")  # the script's patience and grace
    code = f"""
import os, signal, subprocess, sys, time
if os.environ["ADIFF_PROCESS"] == "0":
    time.sleep(0.5)
    sys.exit(3)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["/bin/sleep", "600"])
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    ended = launch("local_pod.sh", 2, "--", *python(code), programs=programs.folder)
    assert ended.returncode == 3
    assert "process 1 ended with 137" in ended.stderr
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(child)


def running(process: int) -> bool:
    """Whether a process is there, and not only awaited by whoever inherited it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_all_and_all_are_awaited(sent: signal.Signals) -> None:
    pod = start("local_pod.sh", 3, "--patience", 0, "--", *python(SAVE))
    assert pod.stdout is not None
    for _ in range(3):
        assert pod.stdout.readline().endswith("ready\n")
    pod.send_signal(sent)
    said, _ = pod.communicate(timeout=20)
    assert pod.returncode == 143
    assert places(said) == {0: ["saved"], 1: ["saved"], 2: ["saved"]}


def test_a_dry_run_prints_one_command_a_process_and_makes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shown = launch("local_pod.sh", 2, "--root", root, "--dry-run", "--", "adiff", "train", "a b")
    lines = shown.stdout.splitlines()
    assert len(lines) == 2
    for process, line in enumerate(lines):
        assert line.startswith(f"(cd {root}/{process}/work && env HOME={root}/{process}/home ")
        assert f" ADIFF_PROCESSES=2 ADIFF_PROCESS={process} " in line
        assert line.endswith(" adiff train a\\ b)")
    assert not root.exists()


@pytest.mark.parametrize("count", ["0", "two"])
def test_a_pod_has_a_number_of_processes(count: str) -> None:
    assert launch("local_pod.sh", count, "--", "true").returncode == 2
