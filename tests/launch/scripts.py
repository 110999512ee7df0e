"""Runs the scripts of `launch/`, with stand-ins for the programs that they call."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LAUNCH = Path(__file__).parents[2] / "launch"
SECONDS = 30
"""A script that takes longer hangs."""


def environment(programs: Path | None, **more: str) -> dict[str, str]:
    """That of the tests, with stand-ins found before real programs, and without a job's place."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    if programs is not None:
        own["PATH"] = f"{programs}{os.pathsep}{own['PATH']}"
    return own | more


def start(script: str, *arguments: object, **environment_of: str) -> subprocess.Popen[str]:
    """A script that runs; a signal or `communicate` ends it."""
    programs = environment_of.pop("programs", None)
    return subprocess.Popen(
        [str(LAUNCH / script), *map(str, arguments)],
        env=environment(Path(programs) if programs else None, **environment_of),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_signals,
    )


def _hear_signals() -> None:
    """A shell whose parent ignores them, such as one behind `nohup` or `&`, could not trap them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def launch(
    script: str, *arguments: object, programs: Path | None = None, **environment_of: str
) -> subprocess.CompletedProcess[str]:
    """A script that has run to its end."""
    return subprocess.run(
        [str(LAUNCH / script), *map(str, arguments)],
        env=environment(programs, **environment_of),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def python(code: str) -> tuple[str, str, str]:
    """The command that runs a few lines of Python, without the site's packages: it starts fast."""
    return sys.executable, "-ISc", code


def words(line: str) -> list[str]:
    """What bash reads in a line that a dry run has printed."""
    read = subprocess.run(
        ["bash", "-c", 'eval "set -- $0"; printf "%s\\0" "$@"', line],
        capture_output=True,
        text=True,
        check=True,
    )
    return read.stdout.split("\0")[:-1]


class StandIns:
    """A folder of small programs that stand in for real ones. Each notes how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self._log = folder / ".calls"

    def add(self, name: str, script: str = "") -> None:
        """A program that notes its arguments, one call a line, and then runs a bash script."""
        path = self.folder / name
        path.write_text(
            f'#!/usr/bin/env bash\nline="${{*@Q}}"\necho "{name} ${{line//$\'\\n\'/; }}" '
            f'>> "{self._log}"\n{script}\n'
        )
        path.chmod(0o755)

    def calls(self, name: str = "") -> list[str]:
        """How the programs, or one of them, were called, arguments quoted as bash quotes them."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line for line in lines if line.startswith(name)]


def exits(folder: Path, statuses: list[int]) -> str:
    """A bash script that exits with the first status when first called, and so on; then with 0."""
    counter = folder / ".count"
    counter.write_text("0")
    return (
        f'n=$(<"{counter}"); echo $((n + 1)) > "{counter}"\n'
        f"statuses=({' '.join(map(str, statuses))} 0); ((n < {len(statuses)})) || n=-1\n"
        'exit "${statuses[n]}"'
    )


def places(output: str) -> Mapping[int, list[str]]:
    """What each process of a fake pod has said, without its number before each line."""
    said: dict[int, list[str]] = {}
    for line in output.splitlines():
        number, _, text = line.partition("] ")
        said.setdefault(int(number.removeprefix("[")), []).append(text)
    return said
