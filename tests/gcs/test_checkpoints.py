"""Run directories and their checkpoints in a bucket, where nothing is renamed in one step."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.checkpoint.keep import Keep
from adiff_jax.checkpoint.run_directory import RunDirectory, RunDirectoryError
from adiff_jax.storage import upload
from tests.gcs.fake_server import Storage

EXPERIMENT = json.dumps({"name": "one", "train": {"steps": 2}})
OTHER = json.dumps({"name": "one", "train": {"steps": 3}})


def state(value: float) -> dict[str, Any]:
    return {"params": {"kernel": jnp.full((64, 8), value)}, "batch_stats": {"mean": jnp.ones(3)}}


def abstract() -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(0)
    )


@pytest.fixture
def run(storage: Storage, request: pytest.FixtureRequest) -> RunDirectory:
    return RunDirectory.at(f"gs://bucket/{request.node.name}")


@pytest.fixture
def saved(run: RunDirectory) -> Iterator[Checkpoints]:
    """Steps 1 and 2, in which everything is 1 and 2."""
    with contextlib.closing(Checkpoints(run.checkpoints)) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state(step), {"score": float(-step)})
    with contextlib.closing(Checkpoints(run.checkpoints, Keep(best_metric="score"))) as again:
        yield again


def kernel(restored: tuple[int, Any] | None) -> tuple[int, float]:
    assert restored is not None
    step, found = restored
    return step, float(np.unique(found["params"]["kernel"]).item())


def test_states_and_scores_come_back(saved: Checkpoints):
    assert saved.steps() == [1, 2]
    assert saved.best_step() == 1
    assert kernel(saved.restore(abstract())) == (2, 2.0)
    assert kernel((1, saved.restore_variables(1))) == (1, 1.0)


def test_old_checkpoints_go_and_scores_are_added(run: RunDirectory):
    with contextlib.closing(Checkpoints(run.checkpoints, Keep(last=1))) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state(step))
        checkpoints.wait()
        checkpoints.add_scores(2, {"score": 0.5})
    with contextlib.closing(Checkpoints(run.checkpoints, Keep(best_metric="score"))) as again:
        assert again.steps() == [2]
        assert again.best_step() == 2


def test_half_a_checkpoint_is_not_taken_for_one(
    run: RunDirectory, saved: Checkpoints, storage: Storage
):
    (run.checkpoints / "2" / "commit_success.txt").unlink()
    with contextlib.closing(Checkpoints(run.checkpoints)) as checkpoints:
        assert checkpoints.latest_step() == 1
        assert kernel(checkpoints.restore(abstract())) == (1, 1.0)
        checkpoints.save(2, state(5))
        checkpoints.wait()
        assert kernel(checkpoints.restore(abstract())) == (2, 5.0)


def test_a_broken_checkpoint_is_set_aside_and_the_one_before_is_used(
    run: RunDirectory, saved: Checkpoints, storage: Storage, capsys: pytest.CaptureFixture[str]
):
    broken = [
        name
        for name in storage.names("bucket")
        if f"{run.path.name}/checkpoints/2/state" in name and "/d/" in name
    ]
    assert broken
    for name in broken:
        storage.put("bucket", name, storage.buckets["bucket"][name].content[:20])
    assert kernel(saved.restore(abstract())) == (1, 1.0)
    assert "checkpoint 2 cannot be read" in capsys.readouterr().err
    assert {path.name for path in run.checkpoints.iterdir()} == {"1", "unreadable-2"}


def test_a_directory_is_claimed_until_something_was_saved_to_its_end(
    run: RunDirectory, storage: Storage
):
    run.claim(EXPERIMENT)
    storage.put("bucket", f"{run.path.name}/checkpoints/1/state/manifest.ocdbt", b"half")
    run.claim(OTHER)  # nothing was trained here
    assert json.loads(run.read_experiment()) == json.loads(OTHER)
    assert not run.has_checkpoint()
    with contextlib.closing(Checkpoints(run.checkpoints)) as checkpoints:
        checkpoints.save(2, state(2))
    assert run.has_checkpoint()
    with pytest.raises(RunDirectoryError, match="train.steps: 3 in the directory, 2 given"):
        run.claim(EXPERIMENT)
    run.keep_classes(("rain", "dog"))
    assert run.read_classes() == ("rain", "dog")


def test_a_run_that_was_copied_from_or_to_a_disk_is_whole(
    run: RunDirectory, storage: Storage, tmp_path: Path
):
    with contextlib.closing(Checkpoints(tmp_path / "checkpoints")) as checkpoints:
        checkpoints.save(2, state(2))
    upload(tmp_path, run.path)
    with contextlib.closing(Checkpoints(run.checkpoints, read_only=True)) as copied:
        assert kernel((2, copied.restore_variables())) == (2, 2.0)
    for name in storage.names("bucket"):
        if name.startswith(f"{run.path.name}/"):
            file = tmp_path / "back" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(storage.buckets["bucket"][name].content)
    back = tmp_path / "back" / run.path.name / "checkpoints"
    with contextlib.closing(Checkpoints(back)) as copied:
        assert kernel(copied.restore(abstract())) == (2, 2.0)
