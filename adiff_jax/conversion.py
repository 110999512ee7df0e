"""From a PyTorch checkpoint to a run directory that others start from, and back to a file.

`adiff convert KIND FILE OUT` writes what training would have left: experiment, weights, and the
names of a tagger's classes or the tokenizer; beside them the entries without a leaf, so that
`adiff export OUT FILE` gives back the same entries, bit by bit. Nothing is written unless
everything fits.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from adiff_jax.checkpoint.checkpoints import CheckpointError, Checkpoints
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.checkpoint_kinds import KINDS, Source
from adiff_jax.convert.engine import (
    ConversionError,
    canonical_entries,
    parameter_counts,
    to_ours,
    to_torch,
)
from adiff_jax.convert.torch_files import read_sidecar, read_state, write_sidecar, write_state
from adiff_jax.data.wording import Compat
from adiff_jax.experiment_json import from_json, to_json
from adiff_jax.models.tagger import Tagger
from adiff_jax.protocol import Variables
from adiff_jax.starting import restore
from adiff_jax.storage import local
from adiff_jax.text_files import read_text

UNCHECKED = (
    "every entry of the file is accounted for; values not checked against the original's outputs "
    "(our tests do that for the weights of tests/golden, which these are not)"
)


@dataclass(frozen=True)
class Report:
    """What a conversion did: parameters by block ("" is the sum), and the command to go on with."""

    directory: Path
    counts: Mapping[str, int]
    entries: int
    carried: int
    next_command: str


def convert(
    kind: str,
    file: str | Path,
    out: str | Path,
    classes: str = "",
    compat: Compat = "adiff-2025",
) -> Report:
    """Convert a checkpoint into the new run directory `out`; `classes` as for `read_classes`.

    `compat` says with which conventions an ADIFF was trained: "adiff-2025" as published, "" ours.

    Raises ConversionError that lists everything that does not fit or is not finite,
    CheckpointError when the weights cannot be written.
    """
    path, directory = local(file), local(out)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConversionError(f"{directory} exists: remove it, or choose another directory")
    table = KINDS[kind].table
    state = read_state(path, table.containers)
    entries = canonical_entries(table, state.entries)
    names = read_classes(classes) if classes else ()
    found = KINDS[kind].find(entries, Source(path, names, compat))
    converted = to_ours(table, state, found.abstract)
    _check_finite(path, converted.variables)
    run = RunDirectory.at(directory)
    run.claim(to_json(found.experiment))
    if found.classes:
        run.keep_classes(found.classes)
    if found.tokenizer is not None:
        found.tokenizer.save(run.path)
    write_sidecar(directory, converted.sidecar)
    _save(run, converted.variables)
    return Report(
        directory,
        parameter_counts(converted.variables, depth=1),
        len(state.entries),
        len(converted.sidecar.carried),
        found.next_command.format(out=directory),
    )


def export(run: str | Path, file: str | Path, like: str = "") -> int:
    """Write a run's best weights to a PyTorch file, named as in the file that `like` (the run
    itself, if it is a converted one) was converted from; the number of entries.

    Raises ConversionError when the run is of another model, or the file exists.
    """
    sidecar = read_sidecar(local(like or run))
    tables = {kind.table.name: kind.table for kind in KINDS.values()}
    given, other = (_model_of(path) for path in (run, like or run))
    if given != other:
        raise ConversionError(
            f"{run} is of {given}, {like} of {other}: name with --like a converted directory of "
            "the same kind of model"
        )
    _, variables, _ = restore(RunDirectory.at(run))
    state = to_torch(tables[sidecar.table], variables, sidecar)
    write_state(file, state)
    return len(state.entries)


def read_classes(file: str) -> tuple[str, ...]:
    """Class names of a text file, one a line, or of AudioSet's `class_labels_indices.csv`.

    Raises ConversionError for one without names, or with a name twice.
    """
    text = read_text(file)
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and "display_name" in rows[0]:
        column = rows[0].index("display_name")
        names = [row[column] for row in rows[1:]]
    else:
        names = [",".join(row) for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise ConversionError(
            f"{file}: {'names twice: ' + ', '.join(twice) if twice else 'no class names'}; give "
            "one name a line, or AudioSet's class_labels_indices.csv"
        )
    return tuple(names)


def _model_of(run: str | Path) -> str:
    """The kind of model of a run directory, a tagger's with its encoder."""
    model = from_json(RunDirectory.at(run).read_experiment()).model
    kind = type(model).__name__
    return f"{kind} ({type(model.encoder).__name__})" if isinstance(model, Tagger) else kind


def _check_finite(path: Path, variables: Variables) -> None:
    """Raise ConversionError for weights that no model can speak with."""
    broken = [
        jax.tree_util.keystr(place, simple=True, separator="/")
        for place, leaf in jax.tree_util.tree_leaves_with_path(dict(variables))
        if not np.isfinite(leaf).all()
    ]
    if broken:
        raise ConversionError(f"{path} holds NaN or infinity, in: {', '.join(broken)}")


def _save(run: RunDirectory, variables: Variables) -> None:
    def fail(step: int, error: Exception) -> None:
        raise CheckpointError(f"the weights were not written to {run.path}: {error}") from error

    checkpoints = Checkpoints(run.checkpoints, on_failure=fail)
    checkpoints.save(0, dict(variables))
    checkpoints.close()
