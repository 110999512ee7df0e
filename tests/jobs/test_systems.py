"""`adiff train` and `adiff evaluate` as jobs of 1, 2 and 4 processes on eight devices together.

Nothing is simulated: real processes, real collectives, no disk in common but the run directory of
the training, and of the evaluation not even that.
"""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adiff_jax.evaluate.predictions import read_predictions
from tests.jobs.pod import Pod
from tests.jobs.systems import SIZES, STEPS

SYSTEMS = ("adc", "adiff", "cl4ac")


def run(where: Path, processes: int, *command: str, devices: int = 8) -> None:
    with Pod(where, processes, devices // processes, ["adiff_jax", *command]) as pod:
        codes = pod.wait(900)
        assert codes == [0] * processes, "\n".join(pod.log(i)[-3000:] for i in range(processes))


def trained(where: Path, system: str, processes: int) -> Path:
    where.mkdir(parents=True)
    config = where / "config.py"
    config.write_text(f"from tests.jobs.systems import {system} as get_config\n")
    run(where, processes, "train", str(config), "--workdir", str(where / "run"))
    return where / "run"


def trace(directory: Path, kind: str) -> list[dict[str, Any]]:
    text = (directory / "metrics.jsonl").read_text()
    return [line for line in map(json.loads, text.splitlines()) if line["kind"] == kind]


def answered(where: Path, directory: Path, processes: int, devices: int = 8) -> Path:
    """The copy of the run in which process 0 left its answers. Every process has one of its own."""
    for number in range(processes):
        shutil.copytree(directory, where / str(number) / "run")
    run(where, processes, "evaluate", "run", devices=devices)
    for number in range(1, processes):
        assert not (where / str(number) / "run" / "predictions").exists()
    return where / "0" / "run"


@pytest.fixture(scope="module", params=SYSTEMS)
def on_one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(system, its run directory trained by one process)."""
    where = tmp_path_factory.mktemp(request.param) / "one"
    return request.param, trained(where, request.param, 1)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_training_is_the_same_on_any_number_of_processes(
    tmp_path: Path, on_one: tuple[str, Path], processes: int
) -> None:
    """Losses to 1e-5, gradients to 1e-4 of their norm: the first step, before Adam has divided
    anything by its own noise; from then on, losses to 1e-3."""
    system, one = on_one
    several = trained(tmp_path / "job", system, processes)
    found, expected = trace(several, "train"), trace(one, "train")
    assert [line["step"] for line in found] == list(range(1, STEPS + 1))
    losses = {name for name in expected[0] if name == "loss" or name.startswith("loss/")}
    for name in losses:
        assert found[0][name] == pytest.approx(expected[0][name], rel=1e-5)
        for line, other in zip(found, expected, strict=True):
            assert line[name] == pytest.approx(other[name], rel=1e-3)
    assert found[0]["gradient_norm"] == pytest.approx(expected[0]["gradient_norm"], rel=1e-4)


@pytest.mark.slow
def test_answers_and_scores_are_the_same_bytes(tmp_path: Path, on_one: tuple[str, Path]) -> None:
    """1, 2 and 4 processes of the same eight devices; splits of 1, 7, 8, 9 and 33 examples."""
    _, directory = on_one
    one, two, four = (answered(tmp_path / str(n), directory, n) for n in (1, 2, 4))
    files = sorted(path.name for path in (one / "predictions").iterdir())
    assert {f"of_{size}.jsonl" for size in SIZES} <= set(files)
    for size in SIZES:
        answers = read_predictions(one / "predictions" / f"of_{size}.jsonl")
        assert len({row.id for row in answers}) == len(answers) == size
    for other in (two, four):
        assert sorted(path.name for path in (other / "predictions").iterdir()) == files
        for name in files:
            same = (other / "predictions" / name).read_bytes()
            assert same == (one / "predictions" / name).read_bytes(), name
        assert (other / "metrics.json").read_bytes() == (one / "metrics.json").read_bytes()


@pytest.mark.slow
def test_on_fewer_devices_ids_and_references_are_equal_and_other_words_are_counted(
    tmp_path: Path, on_one: tuple[str, Path]
) -> None:
    """Near-ties may fall either way where sums are made in another order."""
    _, directory = on_one
    eight = answered(tmp_path / "eight", directory, 2)
    two = answered(tmp_path / "two", directory, 2, devices=2)
    flips: Counter[int] = Counter()
    for size in SIZES:
        ours, theirs = (
            read_predictions(where / "predictions" / f"of_{size}.jsonl") for where in (two, eight)
        )
        assert [(row.id, row.references) for row in ours] == [
            (row.id, row.references) for row in theirs
        ]
        for row, other in zip(ours, theirs, strict=True):
            if row.tokens == other.tokens:
                assert row.logprob is not None and other.logprob is not None
                np.testing.assert_allclose(row.logprob, other.logprob, rtol=1e-3, atol=1e-3)
            else:
                flips[size] += 1
    print(f"sentences with other words, by the size of the split: {dict(flips)}")
    assert flips.total() <= 2
