"""Cells of a grid beside each other."""

import signal

from tests.launch.scripts import launch, places, python, start

CELL = "import sys; print(*sys.argv[1:]); sys.exit(4 if sys.argv[1] == '1/3' else 0)"


def test_each_command_has_its_share_and_its_index() -> None:
    ended = launch("grid.sh", 2, "--", "echo", "--cell", "{cell}", "cells-{index}", "{other}")
    assert ended.returncode == 0
    assert places(ended.stdout) == {
        0: ["--cell 0/2 cells-0 {other}"],
        1: ["--cell 1/2 cells-1 {other}"],
    }


def test_a_cell_that_fails_leaves_the_others_alone() -> None:
    ended = launch("grid.sh", 3, "--", *python(CELL), "{cell}")
    assert ended.returncode == 4
    assert places(ended.stdout) == {0: ["0/3"], 1: ["1/3"], 2: ["2/3"]}
    assert ended.stderr == "grid.sh: cell 1 ended with 4\n"


def test_a_signal_reaches_all_and_all_are_awaited() -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.1), print("saved"), sys.exit(143)))
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""
    grid = start("grid.sh", 2, "--", *python(code))
    assert grid.stdout is not None
    for _ in range(2):
        assert grid.stdout.readline().endswith("ready\n")
    grid.send_signal(signal.SIGTERM)
    said, _ = grid.communicate(timeout=20)
    assert grid.returncode == 143
    assert places(said) == {0: ["saved"], 1: ["saved"]}


def test_a_dry_run_prints_the_commands() -> None:
    shown = launch("grid.sh", 2, "--dry-run", "--", "adiff", "a b", "{cell}")
    assert shown.stdout == "adiff a\\ b 0/2\nadiff a\\ b 1/2\n"
