"""Builds the parts of an experiment and hands them over: train, load, evaluate.

Nothing here computes: models, losses, loops and scores live in their rooms, and this file decides
which of them meet.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from adiff_jax.checkpoint.checkpoints import CheckpointError, Checkpoints, Keep
from adiff_jax.checkpoint.run_directory import RunDirectory, RunDirectoryError
from adiff_jax.data.pipeline import train_batches
from adiff_jax.data.schema import Arrays
from adiff_jax.data.tokenizers import Tokenizer, load_tokenizer
from adiff_jax.experiment import ConfigError, Experiment, StartFrom
from adiff_jax.experiment_json import from_json, to_json
from adiff_jax.frozen_encoder import check_caches
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.models.tagger import Tagger
from adiff_jax.parallel.mesh import MeshConfig, check_divides, make_mesh, row_unit
from adiff_jax.parts import (
    Parts,
    abstract_variables,
    assemble,
    check_optimizer,
    note,
    note_unsayable,
    open_for,
    training_order,
)
from adiff_jax.plots import plot_curves
from adiff_jax.protocol import Variables
from adiff_jax.train.loop import fit
from adiff_jax.train.state import overlay
from adiff_jax.validate import validation

MAY_CHANGE = (
    "mesh",
    "data.loader",
    "data.test",
    "evaluation",
    "train.wandb_project",
    "train.log_every",
)
"""Fields of an experiment that change no trained parameter, so a resumed run may differ in them."""


@dataclass(frozen=True)
class Trained:
    """A trained run: its parts and its best weights."""

    directory: RunDirectory
    parts: Parts
    variables: Variables
    step: int


def train(experiment: Experiment, workdir: epath.PathLike) -> RunDirectory:
    """Train an experiment in its directory, from where it stopped if it did.

    Raises RunDirectoryError when the directory holds another experiment, or checkpoints but no
    vocabulary. A directory becomes an experiment's own when its parts fit together, and stays so
    from its first checkpoint on, so that a mistake in it can be mended and the command repeated.
    Until then vocabulary and classes are made anew, as the data may be others.
    """
    run = RunDirectory.at(workdir)
    run.check_owner(to_json(experiment), MAY_CHANGE)
    resumed = run.has_checkpoint()
    if resumed:
        _check_complete(run, experiment)
    source = open_for(experiment.model, experiment.data.train)
    if resumed and run.tokenizer.exists():
        stored: Tokenizer | None = load_tokenizer(run.path)
    else:
        stored = _given_tokenizer(experiment.start)
    parts = assemble(experiment, source, stored)
    if isinstance(experiment.model, Adiff):
        classes = run.read_classes() if run.classes.exists() else _given_classes(experiment.start)
        parts = replace(parts, classes=classes)
    selected_on = open_for(experiment.model, experiment.data.validation)
    if parts.tokenizer is not None:
        note_unsayable(parts.tokenizer, "data.validation", selected_on.texts())
    evaluate = validation(parts, selected_on)
    check_divides(experiment.train.global_batch, parts.mesh, experiment.train.accumulate)
    abstract = abstract_variables(parts, source)
    check_optimizer(experiment, abstract["params"])
    start_from = None
    for part in () if resumed else experiment.frozen_as_drawn:
        note(f"model.{part} is frozen at random weights: name a run that trained it with --init")
    if experiment.start and not resumed:
        _check_conventions(experiment)
        start_from = pretrained(experiment.start)
    order = training_order(parts, source)
    # Refuses now what is missing or does not fit.
    started = abstract if start_from is None else start_from(abstract)
    trained_on = (experiment.data.train, experiment.data.validation)
    if parts.clips:
        check_caches(trained_on, experiment, lambda: restore(run)[1] if resumed else started)
    run.claim(to_json(experiment), MAY_CHANGE)
    if parts.tokenizer is not None and not resumed and jax.process_index() == 0:
        parts.tokenizer.save(run.path)
    if parts.classes:
        run.keep_classes(parts.classes)
    config = experiment.train

    def batches(start: int) -> Generator[Arrays, None, None]:
        yield from train_batches(
            source,
            parts.encode,
            order,
            config.global_batch,
            start,
            jax.process_index(),
            jax.process_count(),
            experiment.data.loader,
        )

    fit(
        parts.objective,
        batches,
        config,
        parts.mesh,
        run,
        evaluate=evaluate,
        overlay=start_from,
        seconds_per_example=parts.clips * experiment.data.encode.seconds,
    )
    if jax.process_index() == 0:
        plot_curves(run.curves, run.metrics_log)
    return run


def _check_complete(run: RunDirectory, experiment: Experiment) -> None:
    """Raise RunDirectoryError unless the names that the checkpoints were trained with are there."""
    file = run.classes if isinstance(experiment.model, Tagger) else run.tokenizer
    if not file.exists():
        raise RunDirectoryError(
            f"{file} is missing, and the checkpoints beside it mean nothing without it: bring back "
            "a copy of it, or choose another directory"
        )


def starting_from(experiment: Experiment, runs: Sequence[str]) -> Experiment:
    """The experiment with everything that fits taken from other runs, each by what it trained.

    A tagger gives ADIFF its clip encoder (and head), a language model its language model, a run of
    the same kind of model all its parameters. Raises ConfigError for a run that has nothing to
    give.
    """
    starts = []
    for path in runs:
        there = from_json(RunDirectory.at(path).read_experiment()).model
        match there, experiment.model:
            case Tagger(), Adiff():
                subtrees = (("", "clips"),)
            case LanguageModel(), Adiff():
                subtrees = (("lm", "lm"),)
            case Tagger(), Adc():
                subtrees = (("encoder", "encoder"),)
            case (
                (Adiff(), Adiff())
                | (Adc(), Adc())
                | (Tagger(), Tagger())
                | (LanguageModel(), LanguageModel())
            ):
                subtrees = (("", ""),)
            case _:
                raise ConfigError(
                    f"--init {path}: it trained {type(there).__name__}, which gives nothing to "
                    f"{type(experiment.model).__name__}; say in `start` of the config what to take"
                )
        starts.append(StartFrom(path, subtrees))
    return replace(experiment, start=(*experiment.start, *starts))


def _check_conventions(experiment: Experiment) -> None:
    """Raise ConfigError when ADIFF starts from an ADIFF of another `compat`."""
    for start in experiment.start:
        match experiment.model, from_json(RunDirectory.at(start.run).read_experiment()).model:
            case Adiff(compat=here), Adiff(compat=there) if here != there:
                raise ConfigError(
                    f"{start.run} was trained with compat={there!r}, but model.compat is {here!r}: "
                    "set model.compat and data.encode.compat to that"
                )


def _given_tokenizer(starts: tuple[StartFrom, ...]) -> Tokenizer | None:
    """The tokenizer of the run that gives a language model, whose embeddings are of its ids."""
    for start in starts:
        run = RunDirectory.at(start.run)
        if any(here in ("", "lm") for _, here in start.subtrees) and run.tokenizer.exists():
            return load_tokenizer(run.path)
    return None


def _given_classes(starts: tuple[StartFrom, ...]) -> tuple[str, ...]:
    """The classes of the run that gives a tagging head; none without one."""
    for start in starts:
        run = RunDirectory.at(start.run)
        if any(here in ("", "clips") for _, here in start.subtrees) and run.classes.exists():
            return run.read_classes()
    return ()


def pretrained(starts: tuple[StartFrom, ...]) -> Callable[[Variables], Variables]:
    """Fresh variables -> the same with subtrees of other runs laid over them."""

    def lay_over(variables: Variables) -> Variables:
        for start in starts:
            _, source, _ = restore(RunDirectory.at(start.run))
            if start.grow_channels:
                source = grown(source, variables, start.subtrees)
            variables = overlay(variables, source, start.subtrees)
        return variables

    return lay_over


def grown(source: Variables, target: Variables, subtrees: tuple[tuple[str, str], ...]) -> Variables:
    """`source` with zero input channels appended to convolution kernels that have too few."""

    def at(tree: Any, path: tuple[str, ...]) -> Any:
        for name in path:
            tree = tree[name] if isinstance(tree, Mapping) and name in tree else None
        return tree

    def names(path: str) -> tuple[str, ...]:
        return tuple(name for name in path.split("/") if name)

    moved = [(names(there), names(here)) for there, here in subtrees]

    def grow(path: tuple[Any, ...], leaf: np.ndarray) -> np.ndarray:
        place = tuple(str(entry.key) for entry in path)
        for below, onto in moved:
            wanted = at(target["params"], (*onto, *place[len(below) :]))
            if (
                place[: len(below)] == below
                and wanted is not None
                and leaf.ndim == wanted.ndim == 4
            ):
                missing = wanted.shape[2] - leaf.shape[2]
                if missing > 0:
                    return np.pad(leaf, ((0, 0), (0, 0), (0, missing), (0, 0)))
        return leaf

    return {**source, "params": jax.tree_util.tree_map_with_path(grow, source["params"])}


def restore(run: RunDirectory) -> tuple[Experiment, Variables, int]:
    """Experiment, best weights (numpy) and their step of a run directory.

    "Best" is by `train.best_metric`; without one, the newest.
    """
    experiment = from_json(run.read_experiment())
    keep = Keep(
        experiment.train.keep_last, experiment.train.best_metric, experiment.train.best_mode
    )
    checkpoints = Checkpoints(run.checkpoints, keep, read_only=True)
    step = checkpoints.best_step() or checkpoints.latest_step()
    if step is None:
        raise CheckpointError(
            f"{run.path} has no finished checkpoint yet: train it first (adiff train ... --workdir)"
        )
    variables = checkpoints.restore_variables(step)
    checkpoints.close()
    return experiment, variables, step


def load_trained(path: epath.PathLike) -> Trained:
    """A run directory ready for use on the devices there are; nothing beside it is needed."""
    run = RunDirectory.at(path)
    experiment, variables, step = restore(run)
    mesh = make_mesh(MeshConfig())
    unit, evaluation = row_unit(mesh), experiment.evaluation
    # A batch that these devices do not divide becomes the next larger one that they do.
    evaluation = replace(evaluation, batch=-(-evaluation.batch // unit) * unit)
    experiment = replace(experiment, mesh=MeshConfig(), evaluation=evaluation)
    if isinstance(experiment.model, Tagger):
        parts = Parts(experiment, mesh, None, run.read_classes())
    else:
        classes = run.read_classes() if run.classes.exists() else ()
        parts = Parts(experiment, mesh, load_tokenizer(run.path), classes)
    return Trained(run, parts, jax.tree.map(jnp.asarray, variables), step)
