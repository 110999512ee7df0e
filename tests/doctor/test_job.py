"""Two real processes: what all found is one line, and it names the one that found otherwise."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DEVICES

REPOSITORY = Path(__file__).parents[2]


def examined(folders: list[Path], what: str) -> list[list[str]]:
    """What each process of a job printed, its run and its cache of programs in these folders."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    command = [sys.executable, "-m", "tests.doctor.examined"]
    devices = f"--xla_force_host_platform_device_count={DEVICES // 2}"
    started = [
        subprocess.Popen(
            [*command, address, str(i), "2", str(folder / "run"), what],
            cwd=REPOSITORY,
            env=os.environ
            | {
                "XLA_FLAGS": devices,
                "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, folder in enumerate(folders)
    ]
    said = [process.communicate(timeout=120) for process in started]
    for process, (_, errors) in zip(started, said, strict=True):
        assert process.returncode == 0, errors
    return [out.splitlines() for out, _ in said]


def by_name(said: list[str]) -> dict[str, str]:
    """The lines of the report by what they are about, each with its way out."""
    found: dict[str, str] = {}
    for line in said:
        if line.split()[0] in ("ok", "warn", "fail"):
            found[line[6:20].strip()] = line
        elif line.strip().startswith("->"):
            found[list(found)[-1]] += line
    return found


@pytest.mark.slow  # the other covers most of it in half the time
def test_a_job_that_shares_its_directories_is_well(tmp_path: Path) -> None:
    first, second = map(by_name, examined([tmp_path, tmp_path], "training"))
    well = {name for name, line in first.items() if line.startswith("ok")}
    assert first.keys() - well <= {"pace"}, first  # other tests may keep this machine busy
    assert "2 of 2 answered" in first["processes"] and "8 device(s)" in first["processes"]
    assert "4 of them in each process" in first["devices"]
    assert first["alike"].endswith("the same in all processes")
    assert "answers in" in first["port"] and "written and read back" in first["compile cache"]
    assert second == first


def test_directories_of_their_own_are_found_and_their_process_is_named(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        (folder / "run").mkdir(parents=True)
    found = by_name(examined(folders, "machine")[0])
    assert [name for name, line in found.items() if line.startswith("fail")] == ["run directory"]
    assert "process 1: " in found["run directory"]
    assert "not the one in which process 0 writes" in found["run directory"]
