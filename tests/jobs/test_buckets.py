"""Several processes and one bucket: killed, and without a place to write to."""

import re
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from etils import epath

from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.storage import located
from tests.gcs.fake_server import Storage
from tests.jobs.tiny_jobs import finish, lines, measured, reached, start, state_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> epath.Path:
    """The run directory, on a disk, of a job of two processes that nothing interrupted."""
    return finish(tmp_path_factory.mktemp("whole"))


def same(run: epath.Path, other: epath.Path) -> None:
    """Bit for bit: every logged number, parameters and batch statistics."""
    assert measured(run) == measured(other)
    jax.tree.map(np.testing.assert_array_equal, state_of(run), state_of(other))


def test_a_worker_the_coordinator_and_all_are_killed(
    tmp_path: Path, whole: epath.Path, storage: Storage
) -> None:
    where = "gs://bucket/jobs/killed"
    for victims, step in (((1,), 6), ((0,), 15), ((0, 1), 25)):
        with start(tmp_path, run=where) as pod:
            pod.wait_until(lambda step=step: reached(located(where)) >= step)
            for victim in victims:
                pod.kill(victim)
            for number in {0, 1} - {*victims}:
                assert pod.processes[number].wait(45) not in (0, 2, 143)
    assert "resumed" in pod.log(0)
    same(finish(tmp_path, run=where), whole)


@pytest.mark.parametrize(
    ("name", "refused", "writer", "times"),
    [
        ("arrays-of-process-1", "/checkpoints/8[./].*process_1", 1, 1),
        ("arrays-of-process-0", "/checkpoints/8[./].*process_0", 0, 1),
        ("all", "/checkpoints/8[./]", 0, 1),
        ("end", "/checkpoints/8[./].*commit_success", 0, 1),
        ("twice", "/checkpoints/(8|12)[./].*process_1", 1, 2),
    ],
)
def test_a_checkpoint_that_one_process_cannot_write_is_said_and_training_goes_on(
    tmp_path: Path,
    whole: epath.Path,
    storage: Storage,
    name: str,
    refused: str,
    writer: int,
    times: int,
) -> None:
    where = f"gs://bucket/jobs/{name}"
    began = time.monotonic()
    with storage.refusing(refused), start(tmp_path, run=where) as pod:
        pod.wait_until(lambda: reached(located(where)) >= 16)
        assert pod.wait(200) == [0, 0], pod.log(0)[-6000:]
    assert time.monotonic() - began < 120
    said = [line["event"] for line in lines(located(where), "event")]
    assert len(said) == times
    for event in said:
        reason = f"checkpoint not saved: process {writer}: .*(PERMISSION_DENIED|Forbidden|403)"
        assert re.match(reason, event), event
    same(located(where), whole)
    saved = Checkpoints(located(where) / "checkpoints", read_only=True).steps()
    assert saved == [10, 36, 40]  # the best one, and the two newest


def test_a_last_checkpoint_that_one_process_cannot_write_is_an_error_of_all(
    tmp_path: Path, storage: Storage
) -> None:
    where = "gs://bucket/jobs/last"
    with storage.refusing("/checkpoints/40[./].*process_1"), start(tmp_path, run=where) as pod:
        assert pod.wait(200) == [1, 1], pod.log(0)[-6000:]
    for number in (0, 1):
        assert "the state of step 40 could not be saved" in pod.log(number)
        assert "the newest checkpoint is that of step 36" in pod.log(number)


def test_a_process_that_cannot_begin_to_write_ends_the_job(
    tmp_path: Path, whole: epath.Path, storage: Storage
) -> None:
    """The half that is left of a save may not be deleted. When it may, training goes on."""
    where = "gs://bucket/jobs/kept"
    refused = "/checkpoints/8[./].*process_1"
    with storage.refusing(refused, deletes=False), start(tmp_path, run=where) as pod:
        codes = pod.wait(100)
        assert codes[0] == 1 and codes[1] not in (0, 2)
        assert "cannot begin: " in pod.log(0) and "may not be deleted" in pod.log(0)
    same(finish(tmp_path, run=where), whole)
