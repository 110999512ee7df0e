"""Checkpoints of a run: saved in the background, atomically; read back onto any mesh.

One directory a step, `<directory>/<step>`, holds two items: `state`, the train state leaf by leaf,
and `step`, the step with the evaluation scores reached there. The newest ones and the best one
stay. A save that fails is reported and training goes on; a checkpoint that cannot be read is set
aside, loudly, in favour of the one before it.
"""

import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from adiff_jax.checkpoint.keep import Keep, KeepLastAndBest
from adiff_jax.checkpoint.together import Gate, anywhere, first_word
from adiff_jax.storage import located


class CheckpointError(RuntimeError):
    """No checkpoint that serves; the message says which were tried, and the way out."""


def _print_failure(step: int, error: Exception) -> None:
    print(f"checkpoint of step {step} not saved: {error}", file=sys.stderr, flush=True)


class Checkpoints:
    """The checkpoints below one directory. Every process of a run makes and calls it alike.

    `on_failure(step, error)` is told of saves that failed, at the latest by the next call.
    """

    def __init__(
        self,
        directory: epath.PathLike,
        keep: Keep = Keep(),  # noqa: B008 (frozen)
        on_failure: Callable[[int, Exception], None] = _print_failure,
        read_only: bool = False,
    ) -> None:
        self._directory = located(directory)
        self._keep, self._on_failure, self._read_only = keep, on_failure, read_only
        self._metrics: dict[int, Mapping[str, float]] = {}
        self._opened: ocp.CheckpointManager | None = None
        self._gate = Gate()
        self._numbers = itertools.count()
        self._saving: int | None = None

    def _manager(self) -> ocp.CheckpointManager:
        if self._opened is None:
            self._gate = Gate()
            # No barrier of a manager is taken for one of the manager before it.
            number = f"{next(self._numbers)}"
            options = ocp.CheckpointManagerOptions(
                create=not self._read_only,
                read_only=self._read_only,
                cleanup_tmp_directories=not self._read_only,
                preservation_policy=KeepLastAndBest(self._keep.last, self._best),
                async_options=ocp.AsyncOptions(barrier_sync_fn=self._gate),
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    barrier_sync_key_prefix=number
                ),
            )
            handlers = {"state": ocp.PyTreeCheckpointHandler(), "step": ocp.JsonCheckpointHandler()}
            self._opened = ocp.CheckpointManager(
                self._directory, options=options, item_handlers=handlers
            )
            self._metrics = self._read_metrics(self._opened)
        return self._opened

    def _read_metrics(self, manager: ocp.CheckpointManager) -> dict[int, Mapping[str, float]]:
        metrics = {}
        for step in manager.all_steps():
            try:
                item = manager.restore(step, args=ocp.args.Composite(step=ocp.args.JsonRestore()))
                metrics[step] = item["step"]["metrics"]
            except Exception as error:  # of any kind: a broken file; the step counts as unscored
                print(f"checkpoint {step}: no scores ({error})", file=sys.stderr, flush=True)
        return metrics

    def _score(self, step: int) -> float:
        return self._metrics.get(step, {}).get(self._keep.best_metric, math.nan)

    def _best(self, steps: Sequence[int]) -> int | None:
        """The step with the best score among `steps`, the earliest of equals; None without."""
        scored = [step for step in steps if not math.isnan(self._score(step))]
        choose = max if self._keep.best_mode == "max" else min
        return choose(scored, key=self._score, default=None)

    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, oldest first."""
        return sorted(self._manager().all_steps()) if self._directory.exists() else []

    def latest_step(self) -> int | None:
        """The newest finished checkpoint."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The checkpoint with the best `keep.best_metric`; None when none has that score."""
        return self._best(self.steps())

    def save(self, step: int, state: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Copy `state` off the devices and write it in the background; a step is saved once.

        `metrics` are the evaluation scores of this step, if it was evaluated. Raises
        CheckpointError in a job of several processes when the writing cannot begin.
        """
        self.wait()
        try:
            manager = self._manager()
            if step in manager.all_steps():
                return
            self._metrics[step] = dict(metrics or {})
            manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(state),
                    step=_step_item(step, metrics or {}),
                ),
                force=True,
            )
            self._saving = step
        except Exception as error:  # of any kind: a full disk must not end the training
            if jax.process_count() > 1:  # the others wait for this process, and cannot be told
                said = f"the saving of step {step} cannot begin: {_first_line(error)}"
                raise CheckpointError(said) from error
            self._fail(step, error)

    def evaluated(self, step: int) -> bool:
        """Whether the checkpoint of `step` holds the scores of an evaluation."""
        return step in self.steps() and bool(self._metrics.get(step))

    def add_scores(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the evaluation scores of a checkpoint that was saved without."""
        self._metrics[step] = dict(metrics)
        directory = self._directory / str(step) / "step"
        try:
            ocp.JsonCheckpointHandler().save(directory, args=_step_item(step, metrics))
        except OSError as error:  # a full disk; the step is evaluated again after a restart
            self._on_failure(step, error)

    def wait(self) -> None:
        """Until the save under way is on disk, or has been reported as failed.

        Called by all processes: where one cannot write, the save has failed in all.
        """
        if self._saving is not None:
            step, self._saving = self._saving, None
            together = self._gate.wait_for(self._manager())
            # What waits for a process that has failed is left to itself.
            error = self._finish() if together or self._gate.failed else None
            if reason := first_word("" if error is None else _first_line(error)):
                alone = jax.process_count() == 1
                self._fail(step, error if error and alone else RuntimeError(reason))

    def _finish(self) -> Exception | None:
        """Wait for the save under way, here; why it failed."""
        try:
            self._manager().wait_until_finished()
        except Exception as error:  # of any kind, raised in the background thread
            return error
        return None

    def _fail(self, step: int, error: Exception) -> None:
        self._opened = None  # the next call opens afresh, free of this error's traces
        self._metrics.pop(step, None)
        self._on_failure(step, error)

    def close(self) -> None:
        """Finish the save under way and release the directory.

        For itself, without the others: they may go on.
        """
        if self._saving is not None:
            self._gate.leave(self._manager())
            if (error := self._finish()) is not None:
                self._fail(self._saving, error)
            self._saving = None
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def restore(self, abstract_state: Any) -> tuple[int, Any] | None:
        """(step, state) of the newest readable checkpoint; None when there never was one.

        `abstract_state` holds a ShapeDtypeStruct with a sharding for every leaf; the checkpoint
        may have been written on another mesh. Raises CheckpointError when a checkpoint belongs to
        another model, or when there are checkpoints and none can be read.
        """
        failures = []
        for step in reversed(self.steps()):
            state, error = self._try_restore(step, abstract_state)
            # decided by all processes, which must begin at the same step
            if not any(anywhere(error is not None)):
                return step, state
            failures.append(self._set_aside(step, error))
        if failures:
            raise CheckpointError(
                "no checkpoint can be read:\n  " + "\n  ".join(failures) + f"\nRemove "
                f"{self._directory} to begin again, or bring back a copy of it"
            )
        return None

    def _try_restore(self, step: int, abstract_state: Any) -> tuple[Any, Exception | None]:
        """(state, None), or (None, why it cannot be read)."""
        try:
            saved = _leaves(self._manager().item_metadata(step)["state"].tree)
        except Exception as error:  # of any kind: tensorstore, JSON, missing files
            return None, error
        _check_same(saved, _leaves(abstract_state), str(self._directory / str(step)))
        try:
            arguments = ocp.checkpoint_utils.construct_restore_args
            return self._restore_state(step, abstract_state, arguments), None
        except Exception as error:  # of any kind, as above
            return None, error

    def restore_variables(self, step: int | None = None) -> dict[str, Any]:
        """{"params", "batch_stats"} of a step (default: newest) as numpy arrays, for use.

        "params" are the averaged ones where the run kept an average. The optimizer is not read.
        Raises CheckpointError naming the steps that there are when `step` is not among them.
        """
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            raise CheckpointError(
                f"{self._directory} holds no checkpoint{f' {step}' if step else ''}; "
                f"steps there: {steps or 'none'}"
            )
        step = steps[-1] if step is None else step
        try:
            tree = self._manager().item_metadata(step)["state"].tree
            name = "params" if tree.get("ema") is None else "ema"
            wanted = {key: tree[key] for key in (name, "batch_stats") if tree.get(key) is not None}
            found = self._restore_state(step, wanted, _as_numpy, partial_restore=True)
        except Exception as error:  # of any kind: tensorstore, JSON, missing files
            raise CheckpointError(
                f"checkpoint {self._directory / str(step)} cannot be read ({error}); "
                f"steps there: {steps}"
            ) from error
        return {"params": found[name], "batch_stats": found.get("batch_stats", {})}

    def _restore_state(self, step: int, item: Any, restore_args: Callable, **options: Any) -> Any:
        args = ocp.args.PyTreeRestore(item, restore_args=restore_args(item), **options)
        return self._manager().restore(step, args=ocp.args.Composite(state=args))["state"]

    def _set_aside(self, step: int, error: Exception | None) -> str:
        """Called by all processes; `error` is None on those that could read it."""
        aside = self._directory / f"unreadable-{step}"
        if jax.process_index() == 0:
            if aside.exists():
                aside.rmtree()
            (self._directory / str(step)).rename(aside)
        multihost_utils.sync_global_devices(f"set aside checkpoint {step}")
        self._manager().reload()
        self._metrics.pop(step, None)
        reason = _first_line(error) if error is not None else "by another process"
        message = f"checkpoint {step} cannot be read and is now {aside} ({reason})"
        print(f"WARNING: {message}", file=sys.stderr, flush=True)
        return message


def _step_item(step: int, metrics: Mapping[str, float]) -> Any:
    return ocp.args.JsonSave({"step": step, "metrics": dict(metrics)})


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]


def _as_numpy(item: Any) -> Any:
    return jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)


def _leaves(tree: Any) -> dict[str, str]:
    """Path -> "float32 (8, 4)" of every leaf."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype} {leaf.shape}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _check_same(saved: Mapping[str, str], wanted: Mapping[str, str], where: str) -> None:
    """Raise CheckpointError with every leaf that is only on one side, or of another shape."""
    differences = [
        f"{path}: {saved.get(path, 'not')} in the checkpoint, {wanted.get(path, 'not')} in the run"
        for path in sorted({*saved, *wanted})
        if saved.get(path) != wanted.get(path)
    ]
    if differences:
        raise CheckpointError(
            f"{where} belongs to another model or optimizer:\n  "
            + "\n  ".join(differences)
            + "\nUse the configuration that wrote it, or another run directory"
        )
