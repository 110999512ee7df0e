"""Real processes on this machine, each with its own directory: what a test starts and kills."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
QUICK = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling takes longer than computing here
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Pod:
    """`processes` x `devices` CPU devices; every process runs `python -m` the same `command`.

    Process i works in `directory`/i, which is its home and holds its temporary files and its log;
    what the command names by an absolute path is shared. Leaving the context kills what still runs.
    """

    def __init__(
        self, directory: Path, processes: int, devices: int, command: Sequence[str], **more: str
    ) -> None:
        self.coordinator = f"127.0.0.1:{free_port()}"
        job = {"ADIFF_COORDINATOR": self.coordinator, "ADIFF_PROCESSES": str(processes)}
        self._logs = []
        self.processes = []
        for number in range(processes):
            home = directory / str(number)
            home.mkdir(parents=True, exist_ok=True)
            environment = os.environ | QUICK | job | {"ADIFF_PROCESS": str(number)}
            environment |= {name: str(home) for name in ("HOME", "TMPDIR")}
            environment |= {
                "JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"),
                "PYTHONPATH": str(ROOT),
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                **more,
            }
            log = home / "log.txt"
            self._logs.append(log)
            with log.open("w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", *command],
                        cwd=home,
                        env=environment,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def __enter__(self) -> "Pod":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number in range(len(self.processes)):
            self.kill(number)

    def kill(self, number: int, how: int = signal.SIGKILL) -> None:
        """Send a signal to a process; SIGKILL also ends its data workers."""
        process = self.processes[number]
        if how == signal.SIGKILL:
            try:
                os.killpg(process.pid, how)
            except ProcessLookupError:
                pass
        elif process.poll() is None:
            process.send_signal(how)

    def log(self, number: int) -> str:
        """What a process has said so far."""
        return self._logs[number].read_text(errors="replace")

    def wait(self, timeout: float = 300.0) -> list[int]:
        """Exit codes, once all processes have ended."""
        deadline = time.monotonic() + timeout
        return [process.wait(max(0.1, deadline - time.monotonic())) for process in self.processes]

    def wait_until(self, reached: Callable[[], bool], timeout: float = 300.0) -> None:
        """Until something is so, while all processes run."""
        deadline = time.monotonic() + timeout
        while not reached():
            for number, process in enumerate(self.processes):
                assert process.poll() is None, f"process {number}: {self.log(number)[-4000:]}"
            assert time.monotonic() < deadline, self.log(0)[-4000:]
            time.sleep(0.01)
