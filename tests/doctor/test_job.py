"""Two real processes: what all found is one line, and it names the one that found otherwise."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import DEVICES

REPOSITORY = Path(__file__).parents[2]


def examined(tmp_path: Path, runs: list[Path], caches: list[Path]) -> list[list[str]]:
    """The lines that each process of a job printed, its run and cache of programs in these."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    devices = f"--xla_force_host_platform_device_count={DEVICES // len(runs)}"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.doctor.examined", address, str(i), str(len(runs)), run],
            cwd=REPOSITORY,
            env=os.environ
            | {
                "XLA_FLAGS": devices,
                "JAX_COMPILATION_CACHE_DIR": str(cache),
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, (run, cache) in enumerate(zip(runs, caches, strict=True))
    ]
    said = [process.communicate(timeout=120) for process in started]
    for process, (_, errors) in zip(started, said, strict=True):
        assert process.returncode == 0, errors
    return [out.splitlines() for out, _ in said]


def lines(said: list[str]) -> dict[str, str]:
    """By name; the way out belongs to its line."""
    found: dict[str, str] = {}
    for line in said:
        if line.startswith(" "):
            found[name] += line
        else:
            name = line[6:20].strip()
            found[name] = line
    return found


def test_a_job_with_one_directory_is_well_and_one_with_two_is_not(tmp_path: Path) -> None:
    shared, one, two = (tmp_path / name for name in ("shared", "one", "two"))
    for folder in (shared, one, two):
        folder.mkdir()
    first, second = examined(tmp_path, [shared / "run"] * 2, [shared / "cache"] * 2)
    found = lines(first)
    assert all(line.startswith(("ok", "warn  pace")) for line in found.values()), first
    assert "2 of 2 answered" in found["processes"] and "8 device(s)" in found["processes"]
    assert "4 of them in each process" in found["devices"]
    assert found["alike"].endswith("the same in all processes")
    assert "answers in" in found["port"] and "written and read back" in found["compile cache"]
    assert second == first

    found = lines(examined(tmp_path, [one, two], [one / "cache", two / "cache"])[0])
    assert found["run directory"].startswith("fail") and "process 1: " in found["run directory"]
    assert "not the one in which process 0 writes" in found["run directory"]
    assert found["compile cache"].startswith("warn") and "process 1: " in found["compile cache"]
