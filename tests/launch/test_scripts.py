"""All scripts of `launch/`: they parse, shellcheck has no complaint, they help and refuse."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.launch.scripts import LAUNCH, launch

ROOT = LAUNCH.parent
FILES = sorted(LAUNCH.glob("*.sh"))
SCRIPTS = [path for path in FILES if path.name != "command_line.sh"]  # which is sourced

every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_bash_parses_a_script(file: Path) -> None:
    subprocess.run(["bash", "-n", str(file)], check=True)


def test_shellcheck_has_no_complaint() -> None:
    beside = Path(sys.executable).with_name("shellcheck")  # where the extra [test] puts it
    shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
    assert shellcheck, "no shellcheck: pip install -c constraints.txt -e '.[test]'"
    found = subprocess.run(
        [shellcheck, "--external-sources", *map(str, FILES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


@every_script
def test_a_script_stops_at_the_first_error(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text()
    assert os.access(script, os.X_OK)


@every_script
def test_help_is_the_comment_at_the_head(script: Path) -> None:
    helped = launch(script.name, "--help")
    assert helped.returncode == 0
    first = next(
        line for line in script.read_text().splitlines()[1:] if not line.startswith("#SBATCH")
    )
    assert helped.stdout.startswith(first.removeprefix("# "))
    assert f"launch/{script.name} " in helped.stdout
    assert "--dry-run" in helped.stdout
    assert "set -euo" not in helped.stdout and "SBATCH" not in helped.stdout


@every_script
def test_errors_of_use_are_one_sentence_and_status_2(script: Path) -> None:
    for arguments in (["--nonsense"], []):
        refused = launch(script.name, *arguments)
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert refused.stderr.startswith(script.name)


def test_the_stages_of_the_dockerfile_are_the_accelerators_of_the_package() -> None:
    text = (LAUNCH / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM base AS (\w+)\n(.*?)^CMD", text, re.MULTILINE | re.DOTALL))
    assert set(stages) == {"cpu", "cuda", "tpu"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, stage in stages.items():
        installed = re.search(
            r'pip install --constraint constraints.txt --editable "\.\[(.*)\]"', stage
        )
        assert installed
        extras = set(installed[1].split(","))
        assert extras <= set(project["optional-dependencies"])
        assert extras & {"cuda", "tpu"} == {name} - {"cpu"}


def test_what_the_dockerfile_copies_is_there() -> None:
    text = (LAUNCH / "Dockerfile").read_text()
    copied = [
        path for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for path in line.split()
    ]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
