"""Builds the parts of an experiment and hands them over: train, load, evaluate.

Nothing here computes: models, losses, loops and scores live in their rooms, and this file decides
which of them meet.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from etils import epath

from adiff_jax.checkpoint.run_directory import RunDirectory, RunDirectoryError
from adiff_jax.data.pipeline import train_batches
from adiff_jax.data.schema import Arrays
from adiff_jax.data.tokenizers import Tokenizer, load_tokenizer
from adiff_jax.experiment import Experiment
from adiff_jax.experiment_json import to_json
from adiff_jax.frozen_encoder import check_caches
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.tagger import Tagger
from adiff_jax.opened import open_for
from adiff_jax.parallel.mesh import MeshConfig, check_divides, make_mesh, row_unit
from adiff_jax.parts import (
    Parts,
    abstract_variables,
    assemble,
    check_optimizer,
    note,
    note_unsayable,
    training_order,
)
from adiff_jax.plots import plot_curves
from adiff_jax.protocol import Variables
from adiff_jax.starting import (
    check_starts,
    given_classes,
    given_tokenizer,
    pretrained,
    restore,
    with_vectors,
)
from adiff_jax.train.loop import fit
from adiff_jax.validate import validation

MAY_CHANGE = (
    "mesh",
    "model.stack.remat",
    "data.loader",
    "data.test",
    "evaluation",
    "train.wandb_project",
    "train.log_every",
    "train.stall_seconds",
    "train.profile",
)
"""Fields of an experiment that change no trained parameter, but for rounding, so a resumed run may
differ in them."""


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
        stored = given_tokenizer(experiment.start)
    parts = assemble(experiment, source, stored)
    if isinstance(experiment.model, Adiff):
        classes = run.read_classes() if run.classes.exists() else given_classes(experiment.start)
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
        check_starts(experiment)
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
            parts.encode_with_targets(source),
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
        overlay=start_from if resumed else with_vectors(experiment, parts, source, start_from),
        seconds_per_example=parts.clips * experiment.data.encode.seconds,
        shapes_of_batches=max(1, len(experiment.data.encode.buckets)),
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
