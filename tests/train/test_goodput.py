"""Every second counts for one kind, and an earlier process is told by its log."""

import os
import time
from pathlib import Path

import pytest
from etils import epath

from adiff_jax.train.goodput import Goodput, in_words


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_every_second_counts_once(tmp_path: Path, clock: list[float]) -> None:
    goodput = Goodput(epath.Path(tmp_path / "metrics.jsonl"))
    clock[0] += 10
    goodput.turn_to("step")
    clock[0] += 50
    with goodput.spend("evaluation"):
        clock[0] += 20
        with goodput.spend("compile"):
            clock[0] += 5
    clock[0] += 15
    goodput.waited(25.0)
    report = goodput.report()
    assert report == pytest.approx(
        {
            "seconds": 100,
            "goodput": 0.4,
            "compile": 0.05,
            "data_wait": 0.25,
            "checkpoint": 0,
            "evaluation": 0.2,
            "restart": 0,
            "start": 0.1,
        }
    )
    words = in_words(report)
    assert words.startswith("goodput 40.0% of 100.0 s; ") and "data wait 25.0%" in words
    assert "restart" not in words


def test_time_goes_on_for_what_it_was_spent_on_before_an_error(
    tmp_path: Path, clock: list[float]
) -> None:
    goodput = Goodput(epath.Path(tmp_path / "metrics.jsonl"))
    goodput.turn_to("step")
    with pytest.raises(OSError), goodput.spend("checkpoint"):
        clock[0] += 1
        raise OSError
    clock[0] += 3
    assert goodput.report()["goodput"] == pytest.approx(0.75)


def test_a_restart_begins_when_the_process_before_last_wrote(
    tmp_path: Path, clock: list[float]
) -> None:
    log = tmp_path / "metrics.jsonl"
    log.touch()
    os.utime(log, (time.time() - 300, time.time() - 300))
    goodput = Goodput(epath.Path(log))
    clock[0] += 100
    goodput.turn_to("step")
    report = goodput.report()
    assert report["seconds"] == pytest.approx(400, abs=5)
    assert report["restart"] == pytest.approx(1) and report["start"] == 0
