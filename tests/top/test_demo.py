"""The demo: what it prints can be typed, and what it trains reaches the promised scores."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adiff_jax import cli


def suggested(printed: str) -> list[str]:
    """The words of the command that is printed last."""
    (line,) = [line for line in printed.splitlines() if line.startswith("try: ")]
    return shlex.split(line.removeprefix("try: "))


def test_the_command_that_is_printed_is_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """As after `make demo`: the program lies in .venv, which is not on the PATH."""
    monkeypatch.setattr("adiff_jax.demo.demo", lambda workdir: {})
    monkeypatch.setattr("adiff_jax.train.compilation.enable_compile_cache", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    cli.main(["demo"])
    words = suggested(capsys.readouterr().out)
    assert words[:3] == [".venv/bin/adiff", "explain", "runs/demo"]
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    cli.main(["demo"])
    assert suggested(capsys.readouterr().out) == ["adiff", *words[1:]]


@pytest.mark.slow
def test_the_demo_reaches_its_scores_and_explains_what_it_wrote(tmp_path: Path):
    """In a process of its own, on the devices that a user has: not the eight of the tests."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("XLA_FLAGS")
    done = subprocess.run(
        [sys.executable, "-c", "from adiff_jax.cli import main; main()", "demo"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    scores = json.loads((tmp_path / "runs" / "demo" / "metrics.json").read_text())["structured"]
    assert scores["operation"]["accuracy"] >= 0.9
    assert scores["event"]["accuracy"] >= 0.8
    clips = suggested(done.stdout)[3:5]
    assert [Path(clip).name for clip in clips] == ["before.wav", "after.wav"]
    assert all((tmp_path / clip).is_file() for clip in clips)
