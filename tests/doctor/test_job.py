"""Two real processes: what all found is one line, and it names the one that found otherwise."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DEVICES

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from adiff_jax.cli import main; main()", "doctor"]


def examined(folders: list[Path], *subject: str) -> tuple[dict[str, str], int]:
    """What a job said, its lines by what they are about, and the exit code of all its processes;
    each has its run and its cache of programs in one of these folders."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    job = ["--coordinator", address, "--processes", str(len(folders))]
    devices = f"--xla_force_host_platform_device_count={DEVICES // len(folders)}"
    started = [
        subprocess.Popen(
            [*COMMAND, *subject, "--workdir", str(folder / "run"), *job, "--process", str(process)],
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
        for process, folder in enumerate(folders)
    ]
    said = [process.communicate(timeout=300) for process in started]
    codes = {process.returncode for process in started}
    assert len(codes) == 1 and codes <= {0, 1}, [errors for _, errors in said]
    reports = [by_name(out.splitlines()) for out, _ in said]
    assert reports[1:] == [{}] * (len(folders) - 1)  # process 0 speaks for all
    return reports[0], codes.pop()


def by_name(said: list[str]) -> dict[str, str]:
    """The lines of the report, each with its way out."""
    found: dict[str, str] = {}
    for line in said:
        if line.split()[:1] in (["ok"], ["warn"], ["fail"]):
            found[line[6:20].strip()] = line
        elif line.strip().startswith("->"):
            found[list(found)[-1]] += line
    return found


@pytest.mark.slow  # the other covers most of it in half the time
def test_a_job_that_shares_its_directories_is_well(tmp_path: Path) -> None:
    config = tmp_path / "small.py"
    config.write_text(
        "from tests.doctor.small import SMALL\n\n\ndef get_config():\n    return SMALL\n"
    )
    found, code = examined([tmp_path, tmp_path], str(config))
    well = {name for name, line in found.items() if line.startswith("ok")}
    assert found.keys() - well <= {"pace"} and code == 0, found  # other tests may be in the way
    assert {"data", "start", "experiment", "run directory", "pace"} <= found.keys()
    assert "compile cache" in found and "written and read back" in found["compile cache"]


@pytest.mark.slow
def test_directories_of_their_own_are_found_and_their_process_is_named(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        (folder / "run").mkdir(parents=True)
    found, code = examined(folders)
    assert [name for name, line in found.items() if line.startswith("fail")] == ["run directory"]
    assert code == 1 and "process 1: " in found["run directory"]
    assert "not the one in which process 0 writes" in found["run directory"]
    assert "2 of 2 answered" in found["processes"] and "8 device(s)" in found["processes"]
    assert "4 of them in each process" in found["devices"]
    assert found["alike"].endswith("the same in all processes")
    assert "answers in" in found["port"] and "of process 0" in found["clocks"]
