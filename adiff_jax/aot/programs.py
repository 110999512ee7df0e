"""The programs of an experiment, traced from shapes: its train step and its decode step.

Both are what `adiff train` runs: the step of `train.step` with the state placed by the sharding
rules, and `decode.generate` with the experiment's strategy on that state's parameters, as the
evaluations within a training have them. No data are opened: vocabularies are the model's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from adiff_jax.arrays import Batch
from adiff_jax.batch_shapes import abstract_batch
from adiff_jax.decode.generate import generate, parse_strategy
from adiff_jax.decode.rooms import in_turn
from adiff_jax.experiment import Experiment
from adiff_jax.objectives import Captioning
from adiff_jax.parallel.mesh import batch_sharding, check_divides, constrainer, replicated
from adiff_jax.parts import check_optimizer
from adiff_jax.train.compilation import jit_step
from adiff_jax.train.state import TrainState, abstract_state, shardings_of
from adiff_jax.train.step import make_train_step


@dataclass(frozen=True)
class Program:
    """A traced function with the shapes that it is given, by kind."""

    name: str
    traced: jax.stages.Traced
    given: Mapping[str, Any]  # kind -> tree of ShapeDtypeStructs with shardings
    rows: int  # examples
    turns: tuple[int, ...] = ()  # of its while loops, in order


def state_of(experiment: Experiment, mesh: Mesh) -> TrainState:
    """The train state as shapes, each placed by its rule."""
    config = experiment.train
    state = abstract_state(
        experiment.objective(constrainer(mesh)),
        config.optimizer,
        config.steps,
        abstract_batch(experiment),
        mesh,
        config.sharding,
    )
    check_optimizer(experiment, state.params)
    return state


def with_rows(experiment: Experiment, rows: int) -> Experiment:
    """The experiment with batches of `rows` examples, in training and in evaluation."""
    return replace(
        experiment,
        train=replace(experiment.train, global_batch=rows),
        evaluation=replace(experiment.evaluation, batch=rows),
    )


def train_step(experiment: Experiment, mesh: Mesh) -> Program:
    """The step on a batch whose texts are as long as they may be.

    Raises ValueError when the mesh does not divide the batch.
    """
    config, state = experiment.train, state_of(experiment, mesh)
    check_divides(config.global_batch, mesh, config.accumulate)
    step = make_train_step(
        experiment.objective(constrainer(mesh)),
        config.optimizer,
        config.steps,
        config.accumulate,
        config.loss_limit,
    )
    batch = _placed(abstract_batch(experiment), mesh)
    jitted = jit_step(step, (shardings_of(state), replicated(mesh)))
    scalars = (jax.ShapeDtypeStruct((), kind) for kind in (np.uint32, np.int32))
    given = {
        "parameters": state.params,
        "optimizer": state.opt_state,
        "other state": (state.step, state.batch_stats, state.ema),
        "batch": batch,
    }
    return Program("train step", jitted.trace(state, batch, *scalars), given, config.global_batch)


def decode_step(experiment: Experiment, mesh: Mesh) -> Program | None:
    """Sentences for one evaluation batch, every row as long as it may be; None for a model that
    generates none."""
    objective = experiment.objective(constrainer(mesh))
    if not isinstance(objective, Captioning):
        return None
    rows, encode = experiment.evaluation.batch, experiment.data.encode
    check_divides(rows, mesh)
    given = abstract_batch(
        replace(experiment, train=replace(experiment.train, global_batch=rows, accumulate=1))
    )
    # What a loss compares is not there in evaluation.
    without = ("tokens", "tokens_mask", "negative", "negative_mask", "negative_true")
    batch = _placed(replace(given, **dict.fromkeys(without)), mesh)
    variables = state_of(experiment, mesh).variables
    traced = generate.trace(
        objective.module,
        variables,
        batch,
        parse_strategy(experiment.evaluation.decode),
        max_tokens=encode.max_tokens,
        rooms=encode.buckets,
        stop_ids=(0,),
        key=jax.eval_shape(lambda: jax.random.key(0)),
    )
    sizes = in_turn(encode.buckets, encode.max_tokens)
    # The first token comes from the prefill.
    turns = tuple(after - before for before, after in zip((1, *sizes), sizes, strict=False))
    given_kinds = {
        "parameters": variables["params"],
        "other state": variables["batch_stats"],
        "batch": batch,
    }
    return Program("decode step", traced, given_kinds, rows, turns)


def _placed(batch: Batch, mesh: Mesh) -> Batch:
    rows = batch_sharding(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows), batch
    )
