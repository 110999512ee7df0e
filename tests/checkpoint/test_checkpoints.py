"""Checkpoints: what comes back is what was saved, on any mesh; broken files and failing disks."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from adiff_jax.checkpoint import checkpoints as room
from adiff_jax.checkpoint.checkpoints import CheckpointError, Checkpoints
from adiff_jax.checkpoint.keep import Keep


class Moments(NamedTuple):
    mu: Any
    nu: Any


@struct.dataclass
class State:
    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any = None


def state_at(step: int, ema: bool = False) -> State:
    params = {"encoder": {"kernel": jnp.arange(64.0).reshape(16, 4) + step, "bias": None}}
    return State(
        step=jnp.int32(step),
        params=params,
        batch_stats={"norm": {"mean": jnp.full((4,), step, jnp.bfloat16)}},
        opt_state=(Moments(params, jax.tree.map(jnp.square, params)), ()),
        ema=jax.tree.map(lambda x: x / 2, params) if ema else None,
    )


def mesh_of(count: int) -> Mesh:
    axis_types = (AxisType.Auto,)
    return jax.make_mesh((count,), ("data",), axis_types, devices=jax.devices()[:count])


def abstract(state: State, mesh: Mesh) -> State:
    def describe(x: jax.Array) -> jax.ShapeDtypeStruct:
        spec = PartitionSpec("data") if x.ndim == 2 else PartitionSpec()
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(describe, state)


def assert_equal(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def saved(directory: Path, *steps: int, keep: Keep = Keep()) -> Checkpoints:  # noqa: B008
    checkpoints = Checkpoints(directory, keep)
    for step in steps:
        checkpoints.save(step, state_at(step))
    checkpoints.wait()
    return checkpoints


@pytest.mark.parametrize(("before", "after"), [(8, 1), (1, 8), (4, 2)])
def test_a_state_saved_on_one_mesh_is_restored_onto_another(
    tmp_path: Path, before: int, after: int
) -> None:
    state = state_at(3)
    target = abstract(state, mesh_of(before))
    placed = jax.tree.map(lambda x, a: jax.device_put(x, a.sharding), state, target)
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(3, placed)
    checkpoints.close()

    wanted = abstract(state, mesh_of(after))
    restored = Checkpoints(tmp_path / "c").restore(wanted)

    assert restored is not None
    step, found = restored
    assert step == 3
    assert_equal(found, state)
    for leaf, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert leaf.sharding.is_equivalent_to(want.sharding, leaf.ndim)


def test_nothing_saved_restores_none_and_makes_no_directory(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.restore(abstract(state_at(0), mesh_of(1))) is None
    assert checkpoints.latest_step() is None and checkpoints.best_step() is None
    assert not (tmp_path / "c").exists()


def test_variables_for_use_come_as_numpy_without_the_optimizer(tmp_path: Path) -> None:
    saved(tmp_path / "c", 1, 2).close()
    reader = Checkpoints(tmp_path / "c", read_only=True)
    found = reader.restore_variables(1)
    assert set(found) == {"params", "batch_stats"}
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(found))
    assert_equal(found["params"], state_at(1).params)
    assert_equal(found["batch_stats"], state_at(1).batch_stats)
    assert_equal(reader.restore_variables()["params"], state_at(2).params)


def test_variables_for_use_are_the_average_where_the_run_kept_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, state_at(1, ema=True))
    checkpoints.close()
    found = Checkpoints(tmp_path / "c", read_only=True).restore_variables()
    assert_equal(found["params"], state_at(1, ema=True).ema)


def test_a_step_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="steps there: none"):
        Checkpoints(tmp_path / "c", read_only=True).restore_variables()
    saved(tmp_path / "c", 4, 6).close()
    with pytest.raises(CheckpointError, match=r"no checkpoint 5; steps there: \[4, 6\]"):
        Checkpoints(tmp_path / "c", read_only=True).restore_variables(5)


@pytest.mark.parametrize(
    ("mode", "scores", "best", "left"),
    [
        ("max", {1: 0.1, 2: 0.9, 3: 0.5, 4: 0.9, 5: 0.2}, 2, [2, 4, 5]),
        ("min", {1: 0.1, 2: 0.9, 3: 0.5, 4: 0.9, 5: 0.2}, 1, [1, 4, 5]),
        ("max", {1: float("nan"), 2: 0.3, 3: None, 4: 0.1, 5: None}, 2, [2, 4, 5]),
    ],
)
def test_the_last_ones_and_the_best_one_stay_also_after_a_restart(
    tmp_path: Path, mode: Any, scores: dict[int, float | None], best: int, left: list[int]
) -> None:
    keep = Keep(last=2, best_metric="accuracy", best_mode=mode)
    for step, score in scores.items():
        checkpoints = Checkpoints(tmp_path / "c", keep)  # a new process each time
        checkpoints.save(step, state_at(step), None if score is None else {"accuracy": score})
        checkpoints.close()
    checkpoints = Checkpoints(tmp_path / "c", keep, read_only=True)
    assert checkpoints.best_step() == best
    assert checkpoints.steps() == left
    assert_equal(checkpoints.restore_variables(best)["params"], state_at(best).params)


# orbax leaves the coroutines of a failed restore behind when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["half", "empty", "gone"])
def test_whichever_file_is_damaged_the_state_is_whole_or_the_previous_one(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "c", 1, 2).close()
    files = sorted(p.relative_to(tmp_path) for p in (tmp_path / "c" / "2").rglob("*"))
    files = [p for p in files if (tmp_path / p).is_file()]
    fell_back = 0
    for number, file in enumerate(files):
        copy = tmp_path / f"copy{number}"
        os.system(f"mkdir {copy} && cp -r {tmp_path / 'c'} {copy / 'c'}")
        match damage:
            case "half":
                os.truncate(copy / file, (copy / file).stat().st_size // 2)
            case "empty":
                os.truncate(copy / file, 0)
            case "gone":
                (copy / file).unlink()
        checkpoints = Checkpoints(copy / "c")
        restored = checkpoints.restore(abstract(state_at(0), mesh_of(2)))
        assert restored is not None
        step, found = restored
        assert_equal(found, state_at(step))
        if step == 1:
            fell_back += 1
            assert "WARNING: checkpoint 2 cannot be read" in capsys.readouterr().err
            assert (copy / "c" / "unreadable-2").is_dir()
            checkpoints.save(2, state_at(2))  # the step is reached again
            checkpoints.wait()
            assert checkpoints.steps() == [1, 2]
    assert fell_back >= 3


def test_a_checkpoint_that_another_process_cannot_read_is_set_aside_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "c", 1, 2).close()
    elsewhere = iter([True, False])
    monkeypatch.setattr(room, "anywhere", lambda here: (here or next(elsewhere),))
    restored = Checkpoints(tmp_path / "c").restore(abstract(state_at(0), mesh_of(1)))
    assert restored is not None and restored[0] == 1
    assert (tmp_path / "c" / "unreadable-2").is_dir()
    assert "(by another process)" in capsys.readouterr().err


def test_scores_that_came_after_their_checkpoint_count_also_after_a_restart(tmp_path: Path) -> None:
    keep = Keep(last=3, best_metric="accuracy")
    checkpoints = Checkpoints(tmp_path / "c", keep)
    for step, metrics in ((1, {"accuracy": 0.5}), (2, None), (3, {"accuracy": 0.1})):
        checkpoints.save(step, state_at(step), metrics)
        checkpoints.wait()
    assert [checkpoints.evaluated(step) for step in (1, 2, 3, 4)] == [True, False, True, False]
    checkpoints.add_scores(2, {"accuracy": 0.9})
    checkpoints.close()
    again = Checkpoints(tmp_path / "c", keep)
    assert again.evaluated(2) and again.best_step() == 2


def test_a_save_that_was_never_finished_is_not_seen(tmp_path: Path) -> None:
    saved(tmp_path / "c", 1, 2).close()
    (tmp_path / "c" / "2").rename(tmp_path / "c" / "2.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(tmp_path / "c")
    restored = checkpoints.restore(abstract(state_at(0), mesh_of(1)))
    assert restored is not None and restored[0] == 1


def test_no_readable_checkpoint_is_an_error_never_a_fresh_start(tmp_path: Path) -> None:
    saved(tmp_path / "c", 1).close()
    for file in (tmp_path / "c" / "1" / "state").rglob("*"):
        if file.is_file():
            os.truncate(file, 0)
    with pytest.raises(CheckpointError, match="no checkpoint can be read"):
        Checkpoints(tmp_path / "c").restore(abstract(state_at(0), mesh_of(1)))


def test_another_models_checkpoint_is_refused_leaf_by_leaf_and_left_alone(tmp_path: Path) -> None:
    saved(tmp_path / "c", 1).close()
    other = state_at(0).replace(
        params={"encoder": {"kernel": jnp.zeros((16, 5))}, "head": {"bias": jnp.zeros(2)}}
    )
    with pytest.raises(CheckpointError) as error:
        Checkpoints(tmp_path / "c").restore(abstract(other, mesh_of(1)))
    message = str(error.value)
    assert "params/encoder/kernel: float32 (16, 4) in the checkpoint, float32 (16, 5)" in message
    assert "params/head/bias: not in the checkpoint, float32 (2,) in the run" in message
    assert (tmp_path / "c" / "1").is_dir()


def test_a_full_disk_is_reported_and_the_next_save_works(tmp_path: Path) -> None:
    failures: list[int] = []
    directory = tmp_path / "c"
    directory.write_text("a file where the directory should be")  # fails for root, too
    checkpoints = Checkpoints(directory, on_failure=lambda step, error: failures.append(step))
    checkpoints.save(1, state_at(1))
    checkpoints.wait()
    assert failures == [1]
    directory.unlink()
    checkpoints.save(2, state_at(2))
    checkpoints.close()
    assert failures == [1]
    assert checkpoints.steps() == [2]


def test_a_disk_that_fills_up_in_the_background_is_reported_and_the_next_save_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orbax.checkpoint import CheckpointManager

    failures: list[tuple[int, str]] = []
    checkpoints = Checkpoints(
        tmp_path / "c",
        Keep(last=1),
        on_failure=lambda step, error: failures.append((step, str(error))),
    )
    checkpoints.save(1, state_at(1))
    checkpoints.wait()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(CheckpointManager, "_finalize_checkpoint", full)
        checkpoints.save(2, state_at(2))
        checkpoints.wait()
    assert [step for step, _ in failures] == [2] and "No space left" in failures[0][1]
    checkpoints.save(3, state_at(3))
    checkpoints.wait()
    assert len(failures) == 1
    restored = checkpoints.restore(abstract(state_at(0), mesh_of(1)))
    assert restored is not None and restored[0] == 3
    assert_equal(restored[1], state_at(3))
