"""The training loop: everything with an effect, in the order in which it happens.

Restore, or make the state; then for every step: fetch a batch, dispatch the step, and only then
look at the metrics of the step before, so that the device never waits for the log. When it is
due: log, evaluate, save, in that order, so that the log is never behind a checkpoint; a SIGTERM
is answered by saving at once, and an evaluation that was due is made after the restart. Killed at
any point and started again, a run on the same devices gives the same parameters and the same log
as one that was never interrupted.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from adiff_jax.arrays import Batch
from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.checkpoint.keep import Keep
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.parallel.mesh import check_divides, put_batch, replicated
from adiff_jax.parallel.sharding import Rules, undivided
from adiff_jax.protocol import Objective, Variables
from adiff_jax.train.compilation import CompiledStep
from adiff_jax.train.feed import Arrays, Batches, Idleness, fetch
from adiff_jax.train.goodput import Goodput
from adiff_jax.train.interruption import Interrupted, Interruption
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.profile import Profile
from adiff_jax.train.progress import Progress
from adiff_jax.train.refusals import TrainingError, check_saved, diverged, no_score
from adiff_jax.train.state import (
    TrainState,
    abstract_state,
    fresh_state,
    shardings_of,
    with_variables,
)
from adiff_jax.train.step import make_train_step
from adiff_jax.train.watchdog import Watchdog

Evaluate = Callable[[TrainState, int], Mapping[str, float]]
Overlay = Callable[[Variables], Variables]
ToBatch = Callable[[dict[str, jax.Array]], Batch]


@dataclass(frozen=True)
class TrainConfig:
    """How long and how. Intervals are in steps; 0 means only at the end. With `eval_every`, the
    state that training starts from is evaluated too.

    `best_metric` names a score of the evaluation; the checkpoint where it was best is kept beside
    the `keep_last` newest. A loss above `loss_limit` stops the training. `profile` is the first
    step of a trace and the one after its last; (0, 0) is none. A batch, or the end of a step, that
    has not come after `stall_seconds` ends the process (`train.watchdog`); 0 waits for ever.
    """

    steps: int = 1000
    global_batch: int = 32
    log_every: int = 10
    eval_every: int = 0
    save_every: int = 0
    keep_last: int = 2
    best_metric: str = ""
    best_mode: Literal["max", "min"] = "max"
    accumulate: int = 1
    seed: int = 0
    loss_limit: float = 1e4
    optimizer: Optimizer = Optimizer()
    sharding: Rules = Rules()
    wandb_project: str = ""
    profile: tuple[int, int] = (0, 0)
    stall_seconds: float = 1800.0

    def __post_init__(self) -> None:
        least = {"steps": 1, "keep_last": 1, "accumulate": 1}
        least |= {"log_every": 0, "eval_every": 0, "save_every": 0, "stall_seconds": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(
                    f"train.{name} is {getattr(self, name)}; it must be at least {bound}"
                )
        if not 0 <= self.profile[0] <= self.profile[1]:
            raise ValueError(
                f"train.profile is {self.profile}: give the first step and the one after the last"
            )


class _Dispatched(NamedTuple):
    """A step whose metrics are still on the device."""

    step: int  # updates made with it
    metrics: Mapping[str, jax.Array]
    example_ids: np.ndarray
    waited: float  # seconds in which the device had nothing to do, for want of its batch
    flops: float | None


def fit(
    objective: Objective,
    batches: Batches,
    config: TrainConfig,
    mesh: Mesh,
    run: RunDirectory,
    evaluate: Evaluate | None = None,
    overlay: Overlay | None = None,
    to_batch: ToBatch = lambda arrays: Batch(**arrays),
    seconds_per_example: float = 0.0,
    shapes_of_batches: int = 1,
) -> TrainState:
    """Train to `config.steps`, from the newest checkpoint of `run` if there is one.

    `overlay` puts pretrained weights into a fresh state. `evaluate` gets the state and the number
    of updates made. Batches come in `shapes_of_batches` shapes; what is compiled for more of them
    is counted in the log as `recompilations`.

    Raises TrainingError when the loss diverges (the last good state is saved), when the evaluation
    lacks `best_metric` (what was trained is saved), when the data fails, and when the last
    checkpoint cannot be saved; RunDirectoryError when another process trains in `run`; Interrupted
    (exit code 143) after a SIGTERM, saved.
    """
    goodput = Goodput(run.metrics_log)
    check_divides(config.global_batch, mesh, config.accumulate)
    if config.best_metric and evaluate is None:
        raise ValueError(f"best_metric={config.best_metric!r}, but there is no evaluation")
    arguments = (objective, config.optimizer, config.steps)
    train_step = make_train_step(*arguments, config.accumulate, config.loss_limit)

    with contextlib.ExitStack() as stack:
        stack.enter_context(run.locked())
        watchdog = stack.enter_context(Watchdog(config.stall_seconds))
        checkpoints = stack.enter_context(
            contextlib.closing(
                Checkpoints(
                    run.checkpoints,
                    Keep(config.keep_last, config.best_metric, config.best_mode),
                    lambda step, error: progress.event(step, f"checkpoint not saved: {error}"),
                )
            )
        )
        expected = checkpoints.latest_step() or 0
        opened = stack.enter_context(contextlib.closing(batches(expected)))
        with goodput.spend("data_wait"), watchdog.watching(f"the batch of step {expected + 1}"):
            first = fetch(opened, expected, config.steps, config.global_batch)
        shapes = _shapes(to_batch(put_batch(first, mesh)))

        abstract = abstract_state(*arguments, shapes, mesh, config.sharding)
        restored = checkpoints.restore(abstract)
        if restored is None:
            start, state = 0, fresh_state(*arguments, shapes, config.seed, abstract)
            if overlay is not None:
                state = with_variables(state, overlay(state.variables))
        else:
            start, state = restored
        # A checkpoint that SIGTERM asked for was saved without the evaluation that was due.
        evaluate_again = (
            evaluate is not None
            and restored is not None
            and start > 0
            and _due(start, config.eval_every, config.steps)
            and not checkpoints.evaluated(start)
        )
        if start >= config.steps and not evaluate_again:
            return state
        stream: Iterator[Arrays] = itertools.chain([first], opened)
        if start != expected:
            opened.close()
            stream = stack.enter_context(contextlib.closing(batches(start)))

        progress = Progress(
            run,
            mesh,
            None if restored is None else start,
            evaluate_again,
            config.steps,
            config.global_batch,
            seconds_per_example,
            config.wandb_project,
            goodput,
        )

        if copied := undivided(abstract, mesh, config.sharding):
            progress.say(copied)

        def settle(dispatched: _Dispatched | None) -> None:
            """Log a step; stop if it was refused. `state` is then still the one before it."""
            if dispatched is None:
                return
            step = dispatched.step
            with watchdog.watching(f"the end of step {step}"):
                found = jax.device_get(dispatched.metrics)
            values = {name: x.item() for name, x in found.items()}
            if not values.pop("applied"):
                progress.event(step, f"loss {values['loss']}, gradient {values['gradient_norm']}")
                checkpoints.save(step - 1, state)
                check_saved(checkpoints, step - 1)
                ids = dispatched.example_ids.tolist()
                raise TrainingError(diverged(step, values, config.loss_limit, ids))
            log = _due(step, config.log_every, config.steps)
            # NaN in a step that was applied: a term that no row of its batch has.
            values = {name: value for name, value in values.items() if not math.isnan(value)}
            values["recompilations"] = run_step.recompilations
            progress.finished(step, values, dispatched.waited, dispatched.flops, log)

        def evaluated(step: int) -> Mapping[str, float]:
            """Scores of `state`, logged. Without the one that chooses it is saved, unscored."""
            with goodput.spend("evaluation"):
                scores = evaluate(state, step) if evaluate is not None else {}
            if config.best_metric and config.best_metric not in scores:
                if step > 0:
                    checkpoints.save(step, state)
                    check_saved(checkpoints, step)
                raise TrainingError(no_score(config.best_metric, scores, step, run))
            progress.evaluated(step, scores)
            return scores

        stack.enter_context(progress)
        interruption = stack.enter_context(Interruption())
        if restored is not None:
            progress.event(start, "resumed")
        if evaluate_again:
            checkpoints.add_scores(start, evaluated(start))
        if start == config.steps:
            return state
        shardings = (shardings_of(abstract), replicated(mesh))
        run_step = CompiledStep(
            train_step, shardings, progress.say, shapes_of_batches, goodput.spend
        )
        seed = np.uint32(config.seed)
        run_step.prepare(state, shapes, seed, np.int32(start))
        if evaluate is not None and config.eval_every and restored is None:
            evaluated(0)
        profile = stack.enter_context(Profile(config.profile, run.profile, progress.say))
        idleness = stack.enter_context(Idleness())
        goodput.turn_to("step")
        progress.restart_rates()
        before: _Dispatched | None = None
        metrics: dict[str, jax.Array] = {}
        for step in range(start, config.steps):
            profile.before(step, metrics)
            began = time.perf_counter()
            with watchdog.watching(f"the batch of step {step + 1}"):
                arrays = fetch(stream, step, config.steps, config.global_batch)
            waited = idleness.since(began)
            batch = to_batch(put_batch(arrays, mesh))
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                state, metrics = run_step(state, batch, seed, np.int32(step))
            idleness.busy_until(metrics["loss"])
            settle(before)
            done = step + 1
            before = _Dispatched(done, metrics, arrays["example_id"], waited, run_step.flops)

            evaluating = evaluate is not None and _due(done, config.eval_every, config.steps)
            stopping = interruption.requested(done)
            if evaluating or stopping or _due(done, config.save_every, config.steps):
                settle(before)
                before = None
                scores: Mapping[str, float] = {}
                if evaluating and not stopping:  # who asks to stop may not wait for it
                    scores = evaluated(done)
                with goodput.spend("checkpoint"):
                    checkpoints.save(done, state, scores)
                progress.restart_rates()
            if stopping or done == config.steps:
                with goodput.spend("checkpoint"):
                    check_saved(checkpoints, done)
            if stopping and (evaluating or done < config.steps):
                progress.event(done, "interrupted by SIGTERM, saved")
                raise Interrupted
        return state


def _due(step: int, every: int, steps: int) -> bool:
    return step == steps or (every > 0 and step % every == 0)


def _shapes(batch: Batch) -> Batch:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), batch
    )
