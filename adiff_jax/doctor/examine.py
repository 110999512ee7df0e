"""All the checks in turn: every process makes each, and hears what all have found."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.doctor import devices, job, software, storage, training
from adiff_jax.doctor.finding import Finding, Verdict, broken, merged, well
from adiff_jax.evaluate.gather import gather_objects
from adiff_jax.experiment import Experiment, load_experiment
from adiff_jax.experiment_json import from_json, to_json
from adiff_jax.train.compilation import enable_compile_cache


@dataclass(frozen=True)
class Subject:
    """What is examined beside the machine: an experiment, or none, and where it would run."""

    experiment: Experiment | None
    run: RunDirectory


def subject_of(config_or_run: str | None, workdir: str | None) -> Subject:
    """The experiment of a config file or of a run directory, which then is the `workdir` too.

    Raises ConfigError or RunDirectoryError for what is neither.
    """
    if config_or_run is None:
        return Subject(None, RunDirectory.at(workdir or "runs"))
    if config_or_run.endswith(".py"):
        experiment = load_experiment(config_or_run)
        return Subject(experiment, RunDirectory.at(workdir or f"runs/{experiment.name}"))
    run = RunDirectory.at(config_or_run)
    return Subject(from_json(run.read_experiment()), RunDirectory.at(workdir or run.path))


def examine(subject: Subject, coordinator: str = "") -> Iterator[Finding]:
    """What all processes found of one thing after the other. `coordinator` is "host:port" of
    process 0, in a job that was told of it.

    A collective: every process calls it alike and takes every finding.
    """
    experiment, run = subject.experiment, subject.run
    cache = enable_compile_cache()
    yield _agreed("versions", software.versions)
    yield _agreed("extras", partial(software.extras, experiment))
    yield _agreed("devices", devices.devices)
    yield _agreed("port", partial(job.port, coordinator))
    yield _agreed("processes", job.processes)
    yield _agreed("alike", partial(job.alike, "" if experiment is None else to_json(experiment)))
    yield _agreed("clocks", job.clocks)
    yield _agreed("precision", devices.precision)
    yield _agreed("compile cache", partial(storage.compile_cache, cache))
    if experiment is None:
        yield _agreed("run directory", partial(storage.run_directory, run, None, 0))
    else:
        yield from _of_experiment(experiment, run)


def _of_experiment(experiment: Experiment, run: RunDirectory) -> Iterator[Finding]:
    yield _agreed("data", partial(training.data, experiment))
    yield _agreed("start", partial(training.start, experiment, run))
    trainees: list[training.Trainee] = []

    def put_together() -> Finding:
        trainees.append(training.trainee(experiment, run))
        state = devices.size(trainees[0].state_bytes)
        return well("experiment", f"its parts fit together; the state takes {state}")

    found = _agreed("experiment", put_together)
    yield found
    fits = found.verdict is Verdict.OK  # in every process: what follows is done by all or none
    needed = trainees[0].checkpoint_bytes if fits else 0
    yield _agreed("run directory", partial(storage.run_directory, run, experiment, needed))
    if fits:
        yield _agreed("pace", partial(training.pace, trainees[0]))


def _agreed(name: str, check: Callable[[], Finding]) -> Finding:
    """What all processes found, as one line."""
    try:
        ours = check()
    except Exception as error:  # of any kind: whatever breaks here is what the user came to hear
        if os.environ.get("ADIFF_TRACEBACK"):
            raise
        ours = broken(
            name,
            str(error) or type(error).__name__,
            "mend what it says; ADIFF_TRACEBACK=1 adiff doctor ... says where it broke",
        )
    row = dataclasses.asdict(ours) | {"verdict": ours.verdict.value}
    rows = gather_objects([row])
    return merged([Finding(**row | {"verdict": Verdict(row["verdict"])}) for row in rows])
