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
    ("name", "refused", "writer"),
    [
        ("arrays-of-process-1", "/checkpoints/8[./].*process_1", 1),
        ("arrays-of-process-0", "/checkpoints/8[./].*process_0", 0),
        ("all", "/checkpoints/8[./]", 0),
        ("end", "/checkpoints/8[./].*commit_success", 0),
    ],
)
def test_a_checkpoint_that_one_process_cannot_write_is_said_and_training_goes_on(
    tmp_path: Path, whole: epath.Path, storage: Storage, name: str, refused: str, writer: int
) -> None:
    where = f"gs://bucket/jobs/{name}"
    began = time.monotonic()
    with storage.refusing(refused), start(tmp_path, run=where) as pod:
        pod.wait_until(lambda: reached(located(where)) >= 12)
        assert pod.wait(200) == [0, 0], pod.log(0)[-6000:]
    assert time.monotonic() - began < 120
    said = [line["event"] for line in lines(located(where), "event")]
    assert len(said) == 1 and said[0].startswith("checkpoint not saved: ")
    assert re.search(f"process {writer}: .*(PERMISSION_DENIED|Forbidden|403)", said[0]), said
    same(located(where), whole)
    saved = Checkpoints(located(where) / "checkpoints", read_only=True).steps()
    assert saved == [10, 36, 40]  # the best one, and the two newest
