"""The run directory: where each thing of a run lies, and which experiment owns it.

    checkpoints/      one directory a step
    experiment.json   the resolved configuration, written once
    environment.json  versions and devices of the latest start
    tokenizer.json    of a captioner
    classes.json      of a tagger or a tagging head: the names of its outputs, in order
    metrics.jsonl     what training logged, one object a line
    curves.png        the same, drawn when training ends
    tensorboard/
    profile/          a trace of the steps train.profile
    predictions/      one JSON object a line, one file a split and decoding strategy
    metrics.json      scores of the latest evaluation
    unsupported.json  how right the warnings of `adiff explain` were when last measured
    .lock             held by the process that trains here

The path may be local or `gs://`. The configuration is opaque here: any JSON object.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from adiff_jax.checkpoint.checkpoints import Checkpoints
from adiff_jax.storage import is_remote, located, write_whole

PACKAGES = ("adiff_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class RunDirectoryError(RuntimeError):
    """The directory belongs to another experiment, or is no run directory."""


@dataclass(frozen=True)
class RunDirectory:
    """Names of everything in one run's directory. Making one touches no file."""

    path: epath.Path

    @classmethod
    def at(cls, path: epath.PathLike) -> "RunDirectory":
        """The run directory at a path given as a string or a path."""
        return cls(located(path))

    @property
    def checkpoints(self) -> epath.Path:
        """Directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def experiment(self) -> epath.Path:
        """The resolved configuration, JSON."""
        return self.path / "experiment.json"

    @property
    def environment(self) -> epath.Path:
        """Versions and devices, JSON."""
        return self.path / "environment.json"

    @property
    def tokenizer(self) -> epath.Path:
        """The tokenizer, JSON."""
        return self.path / "tokenizer.json"

    @property
    def classes(self) -> epath.Path:
        """Names of a tagger's outputs, a JSON list."""
        return self.path / "classes.json"

    @property
    def metrics_log(self) -> epath.Path:
        """What training logged, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> epath.Path:
        """Picture of the losses and scores over the steps, PNG."""
        return self.path / "curves.png"

    @property
    def tensorboard(self) -> epath.Path:
        """Directory of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def profile(self) -> epath.Path:
        """Directory of a trace of some steps."""
        return self.path / "profile"

    @property
    def predictions(self) -> epath.Path:
        """Directory of generated sentences."""
        return self.path / "predictions"

    @property
    def metrics(self) -> epath.Path:
        """Scores of the latest evaluation, JSON."""
        return self.path / "metrics.json"

    @property
    def unsupported(self) -> epath.Path:
        """How right warnings of unsupported events are, JSON."""
        return self.path / "unsupported.json"

    def has_checkpoint(self) -> bool:
        """Whether training goes on here from a finished checkpoint instead of beginning."""
        with contextlib.closing(Checkpoints(self.checkpoints, read_only=True)) as checkpoints:
            return checkpoints.latest_step() is not None

    def check_owner(self, experiment_json: str, may_change: tuple[str, ...] = ()) -> None:
        """Check that the directory is this experiment's or free. Writes nothing.

        It is free when another experiment began here and left neither checkpoint nor predictions:
        training would begin anew. `may_change` names fields ("mesh", "data.workers") in which a
        resumed run may differ from the stored configuration, because they change no result.
        Raises RunDirectoryError with every other field that differs, or when it is a file.
        """
        self._check_is_directory()
        ours = json.loads(experiment_json)
        if self.experiment.exists():
            theirs = json.loads(self.read_experiment())
            differences = [
                line for field, line in _differences(theirs, ours) if not _below(field, may_change)
            ]
            if differences and self._holds_results():
                raise RunDirectoryError(
                    f"{self.path} holds another experiment:\n  "
                    + "\n  ".join(differences)
                    + "\nChoose another directory, undo these changes to resume, or remove it"
                )
        elif self.checkpoints.exists() or self.metrics_log.exists():
            raise RunDirectoryError(
                f"{self.path} holds checkpoints or logs but no experiment.json; it is not known "
                "whose they are: choose another directory, or remove it"
            )

    def claim(self, experiment_json: str, may_change: tuple[str, ...] = ()) -> None:
        """Make the directory this experiment's; write environment.json.

        A stored configuration is renewed where it may differ, and replaced where nothing was
        trained with it yet. Errors as `check_owner` and, while another process trains here, as
        `locked`. Only process 0 writes.
        """
        with self.locked():
            self.check_owner(experiment_json, may_change)
            if jax.process_index() == 0:
                self.path.mkdir(parents=True, exist_ok=True)
                write_whole(self.experiment, _as_text(json.loads(experiment_json)))
                write_whole(self.environment, _as_text(environment()))

    def _check_is_directory(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(f"{self.path} is a file: choose a directory to train in")

    def _holds_results(self) -> bool:
        """Whether there are predictions, or checkpoints that a save has finished. (What was set
        aside as unreadable counts; what a kill left half saved does not.)"""
        saved = self.checkpoints.iterdir() if self.checkpoints.exists() else ()
        answered = self.predictions.iterdir() if self.predictions.exists() else ()
        return any(map(_is_finished, saved)) or any(True for _ in answered)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While entered, no other process can train here; the lock of a killed one is gone.

        Raises RunDirectoryError that names the process that does. Only process 0 locks, and only
        where there are locks: object stores and some shared file systems have none.
        """
        if jax.process_index() != 0 or is_remote(self.path):
            yield
            return
        self._check_is_directory()
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise RunDirectoryError(
                    f"{self.path} is being trained by {file.read().strip() or 'another process'}: "
                    "wait for it, stop it, or choose another directory"
                ) from error
            except OSError:  # a file system without locks
                yield
                return
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            yield

    def keep_classes(self, names: tuple[str, ...]) -> None:
        """Store the names of a tagger's outputs. Only process 0 writes.

        Raises RunDirectoryError when others are stored and a checkpoint was trained with them: the
        recordings have changed since.
        """
        if (
            self.classes.exists()
            and (stored := self.read_classes()) != names
            and self.has_checkpoint()
        ):
            raise RunDirectoryError(
                f"{self.classes} names {', '.join(stored)}; the training recordings now have "
                f"{', '.join(names)}. Restore those recordings, or choose another directory"
            )
        if jax.process_index() == 0:
            write_whole(self.classes, json.dumps(names) + "\n")

    def read_classes(self) -> tuple[str, ...]:
        """Names of a tagger's outputs, in order. Raises RunDirectoryError without them."""
        if not self.classes.exists():
            raise RunDirectoryError(
                f"{self.path} is no tagger's run, or a damaged one: it has no classes.json"
            )
        return tuple(json.loads(self.classes.read_text()))

    def read_experiment(self) -> str:
        """The stored configuration as JSON text. Raises RunDirectoryError without a valid one."""
        if not self.experiment.exists():
            raise RunDirectoryError(f"{self.path} is no run directory: it has no experiment.json")
        text = self.experiment.read_text()
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            raise RunDirectoryError(f"{self.experiment} is damaged: {error}") from error
        return text


def environment() -> dict[str, Any]:
    """Versions of what computes, and the devices it computes on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "versions": versions,
        "devices": {"kind": jax.devices()[0].device_kind, "count": jax.device_count()},
        "processes": jax.process_count(),
    }


def _is_finished(directory: epath.Path) -> bool:
    """Whether what lies in a directory of checkpoints was saved to its end.

    On disks a checkpoint takes its name when it is whole; in a bucket, where nothing is renamed in
    one step, orbax adds a file at the end.
    """
    return bool(ocp.utils.is_checkpoint_finalized(directory))


def _as_text(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _flat(value: Any, field: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        nested = [_flat(v, f"{field}.{k}" if field else k) for k, v in value.items()]
        return {key: leaf for part in nested for key, leaf in part.items()}
    return {field: value}


def _differences(theirs: Any, ours: Any) -> list[tuple[str, str]]:
    """(field, "field: stored -> given") of every field that differs."""
    old, new = _flat(theirs), _flat(ours)

    def shown(side: dict[str, Any], field: str) -> str:
        return json.dumps(side[field]) if field in side else "(absent)"

    return [
        (field, f"{field}: {shown(old, field)} in the directory, {shown(new, field)} given")
        for field in dict.fromkeys([*old, *new])
        if shown(old, field) != shown(new, field)
    ]


def _below(field: str, prefixes: tuple[str, ...]) -> bool:
    return any(field == prefix or field.startswith(prefix + ".") for prefix in prefixes)
