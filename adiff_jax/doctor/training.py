"""The data of an experiment, and whether they come as fast as the model reads them."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.checkpoint.checkpoints import CheckpointError
from adiff_jax.checkpoint.run_directory import RunDirectory, RunDirectoryError
from adiff_jax.data.buckets import BucketOrder
from adiff_jax.data.builders.table_source import TableSource
from adiff_jax.data.order import RowOrder
from adiff_jax.data.pipeline import ExampleError, load_row, train_batches
from adiff_jax.data.schema import Arrays, Source, coverage_of
from adiff_jax.data.tokenizers import load_tokenizer
from adiff_jax.doctor.finding import Finding, beware, broken, well
from adiff_jax.evaluate.gather import gather_objects
from adiff_jax.experiment import DataConfig, Experiment
from adiff_jax.opened import open_for
from adiff_jax.parallel.mesh import check_divides, replicated
from adiff_jax.parts import Parts, assemble, training_order
from adiff_jax.starting import check_starts, given_tokenizer
from adiff_jax.train.compilation import CompiledStep
from adiff_jax.train.state import TrainState, abstract_state, fresh_state, shardings_of
from adiff_jax.train.step import make_train_step

READ = 8
"""Examples of each split that are read, first and last among them."""

_LOADER_SECONDS, _MOST_BATCHES = 3.0, 32
_STEPS = 3
_MARGIN = 1.25
"""How much faster than the model a loader should be: clips differ in length, disks in mood."""


def data(experiment: Experiment) -> Finding:
    """Every split opens, tables name clips that are there, and a few examples can be read."""
    told, problems = [], []
    for name, config in _splits(experiment):
        try:
            source = open_for(experiment.model, config)
            problems += _unreadable(source, name)
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error}")
            continue
        coverage = coverage_of(source)
        told.append(f"{name} {len(source)}" + (f" ({coverage})" if coverage else ""))
    text = f"{', '.join(told) or 'no'} examples"
    if problems:
        return broken(
            "data",
            f"{text}; {'; '.join(problems)}",
            "put them there (ADIFF_DATA names their folder), or leave them out: adiff data missing "
            "CONFIG lists clips that are not there, adiff data verify PATH those that are broken",
        )
    return well("data", f"{text}; {READ} of each were read")


def _splits(experiment: Experiment) -> Iterator[tuple[str, DataConfig]]:
    yield "train", experiment.data.train
    yield "validation", experiment.data.validation
    for split in experiment.data.test:
        yield split.name, split.source


def _unreadable(source: Source, name: str) -> list[str]:
    """What is wrong with the clips of a split, of which a few are read."""
    problems = source.dangling()[:READ] if isinstance(source, TableSource) else []
    places = np.linspace(0, len(source) - 1, min(READ, len(source))).astype(int).tolist()
    for index in places:
        try:
            load_row(source, lambda example, *_: example.id, index)
        except ExampleError as error:
            problems.append(str(error))
    return [f"{name}: {problem}" for problem in problems]


def start(experiment: Experiment, run: RunDirectory) -> Finding:
    """What training in `run` starts from: its own checkpoint, or runs that are there."""
    if run.has_checkpoint():
        return well("start", f"resumes from a checkpoint in {run.checkpoints}")
    if not experiment.start:
        return well("start", "from a fresh state")
    runs = ", ".join(part.run for part in experiment.start)
    try:
        check_starts(experiment)
    except (OSError, ValueError, RunDirectoryError, CheckpointError) as error:
        return broken("start", str(error), f"train what it starts from first: {runs}")
    untrained = [
        part.run for part in experiment.start if not RunDirectory.at(part.run).has_checkpoint()
    ]
    if untrained:
        text = f"{', '.join(untrained)} holds no finished checkpoint"
        return broken("start", text, "let that training come to its first checkpoint")
    return well("start", f"from {runs}")


@dataclass(frozen=True)
class Trainee:
    """What trains: the parts, what they read in which order, and the state as shapes."""

    parts: Parts
    source: Source
    order: RowOrder | BucketOrder
    abstract: TrainState

    @property
    def state_bytes(self) -> int:
        """Of the whole state, over all devices."""
        return sum(
            math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.abstract)
        )

    @property
    def checkpoint_bytes(self) -> int:
        """Of all checkpoints that are there at a time, one of them being written."""
        config = self.parts.experiment.train
        return (config.keep_last + bool(config.best_metric) + 1) * self.state_bytes

    def batches(self) -> Iterator[Arrays]:
        """This process's rows of every step, from the first on, as training reads them."""
        experiment = self.parts.experiment
        return train_batches(
            self.source,
            self.parts.encode_with_targets(self.source),
            self.order,
            experiment.train.global_batch,
            0,
            jax.process_index(),
            jax.process_count(),
            experiment.data.loader,
        )


def trainee(experiment: Experiment, run: RunDirectory) -> Trainee:
    """The parts of a training in `run`, put together as `run.train` does; raises what it raises."""
    source = open_for(experiment.model, experiment.data.train)
    stored = load_tokenizer(run.path) if run.tokenizer.exists() else None
    parts = assemble(experiment, source, stored or given_tokenizer(experiment.start))
    parts.check_evaluation()
    config = experiment.train
    check_divides(config.global_batch, parts.mesh, config.accumulate)
    row = load_row(source, parts.encode_with_targets(source), 0, draw=0)
    shapes = Batch(**{name: np.asarray(value)[None] for name, value in row.items()})
    arguments = parts.objective, config.optimizer, config.steps
    abstract = abstract_state(*arguments, shapes, parts.mesh, config.sharding)
    return Trainee(parts, source, training_order(parts, source), abstract)


def pace(subject: Trainee) -> Finding:
    """Rows a second of the loader against those of the train step, each measured by itself.

    A collective; the slowest loader of a job counts, as a step waits for it.
    """
    rate, first = loader_rate(subject)
    rates = [row["rate"] for row in gather_objects([{"rate": rate}])]
    comes = min(rates) * len(rates)
    step_seconds = _step_seconds(subject, first)
    read = subject.parts.experiment.train.global_batch / step_seconds
    text = (
        f"the loader gives {comes:.3g} rows/s, the train step reads {read:.3g} ({step_seconds:.3g} "
        f"s a step): {comes / read:.2g} times what it needs"
    )
    if comes < _MARGIN * read:
        return beware(
            "pace",
            text,
            "raise data.loader.threads and prefetch, or data.loader.workers where Python makes the "
            "audio; store clips at the model's rate as tables (adiff data build), or cache what a "
            "frozen encoder hears (adiff data embed)",
        )
    return well("pace", text)


def loader_rate(subject: Trainee) -> tuple[float, Arrays]:
    """Rows a second of this process's loader, once what it read ahead is used up; its first
    batch."""
    config = subject.parts.experiment.data.loader
    bursts = config.threads * max(1, config.workers)  # batches come in bursts, one a thread
    batches = subject.batches()
    with contextlib.closing(batches):  # type: ignore[type-var]  # it is a generator
        first = next(batches)
        for _ in range(config.prefetch + 4 * config.workers):
            next(batches)
        began, taken = time.perf_counter(), 0
        while taken < _MOST_BATCHES and time.perf_counter() - began < _LOADER_SECONDS:
            for _ in range(bursts):
                next(batches)
            taken += bursts
        seconds = time.perf_counter() - began
    return taken * len(first["example_id"]) / seconds, first


def _step_seconds(subject: Trainee, first: Arrays) -> float:
    """The best of a few steps of a fresh state."""
    parts, abstract = subject.parts, subject.abstract
    config, objective = parts.experiment.train, parts.objective
    batch = parts.to_batch(first)
    arguments = objective, config.optimizer, config.steps
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    state = fresh_state(*arguments, shapes, config.seed, abstract)
    step = make_train_step(*arguments, config.accumulate, config.loss_limit)
    shardings = (shardings_of(abstract), replicated(parts.mesh))
    run = CompiledStep(step, shardings, lambda _: None)
    seed, seconds = np.uint32(config.seed), []
    for number in range(1 + _STEPS):
        began = time.perf_counter()
        state, metrics = run(state, batch, seed, np.int32(number))
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
