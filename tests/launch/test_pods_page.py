"""docs/pods.md: its commands are ones that the scripts and the command line take."""

import re
from pathlib import Path

import pytest

from tests.launch.scripts import LAUNCH, launch, words

PAGE = (LAUNCH.parent / "docs" / "pods.md").read_text()


def commands() -> list[str]:
    """Of its code blocks, one a line, continued lines joined."""
    blocks = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    joined = "".join(blocks).replace("\\\n", " ").replace("&&\n", "&& ")
    return [line for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "command", [line for line in commands() if "launch/" in line and "docker" not in line]
)
def test_a_launcher_takes_the_command_of_the_page(command: str) -> None:
    given = words(command)
    script = next(word for word in given if word.startswith("launch/"))
    options = given[given.index(script) + 1 :]
    place = options.index("--") if "--" in options else len(options)
    array = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0"}
    array |= {"SLURM_ARRAY_TASK_MAX": "8", "SLURM_ARRAY_TASK_COUNT": "9"}
    shown = launch(
        script.removeprefix("launch/"), *options[:place], "--dry-run", *options[place:], **array
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout


def test_every_script_is_on_the_page() -> None:
    for path in LAUNCH.glob("*.sh"):
        assert path.name == "command_line.sh" or f"launch/{path.name}" in PAGE


def test_configs_and_grids_of_the_page_are_there() -> None:
    named = set(re.findall(r"\b(?:configs|adiff_jax)/[\w/]+\.py", PAGE))
    assert named
    for name in named:
        assert (Path(LAUNCH.parent) / name).exists(), name
