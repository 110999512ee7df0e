"""The options by which a process finds its job, and how it leaves one.

Process 0 prints what a verb prints; every process says on stderr what went wrong in it.
"""

import argparse
import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adiff_jax.parallel.processes import Place

JOB = """\
Several processes: run the same command in each, with --coordinator HOST:PORT of process 0,
--processes N and --process I, or ADIFF_COORDINATOR, ADIFF_PROCESSES and ADIFF_PROCESS. GKE, SLURM
and Open MPI say it themselves; on TPU VMs give --processes auto. See docs/pods.md."""

SAVING = ("train", "ablate")
"""Verbs that answer SIGTERM by saving."""

_AGREED_ENDS = (None, 0, 143)
"""Exit codes with which all processes of a job end together; 143 is a SIGTERM, answered."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a verb that may run as several processes."""
    group = parser.add_argument_group("several processes", "see docs/pods.md")
    group.add_argument("--coordinator", default="", metavar="HOST:PORT", help="of process 0")
    group.add_argument("--processes", default="", metavar="N", help="how many; auto on TPU VMs")
    group.add_argument("--process", default="", metavar="I", help="which this is, from 0")
    group.add_argument(
        "--join-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long to wait for the others (default 300)",
    )
    group.add_argument(
        "--heartbeat",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="how long one may be silent before the others end too (default 20)",
    )


def join(options: argparse.Namespace) -> None:
    """Make this process part of its job, if the verb can be one of several.

    Raises JobError that names what is missing: a setting, or other processes.
    """
    if not hasattr(options, "coordinator") or getattr(options, "show_help", False):
        return
    from adiff_jax.parallel import processes

    place = place_of(options)
    saves = options.verb in SAVING
    processes.join(place, options.join_timeout, options.heartbeat, saves)
    if place is not None and _process() > 0:
        sys.stdout = open(os.devnull, "w")


def place_of(options: argparse.Namespace) -> "Place":
    """The place of this process, from the options and the environment. Raises JobError."""
    from adiff_jax.parallel import processes

    return processes.place_of(os.environ, options.coordinator, options.processes, options.process)


def who() -> str:
    """ " (process 1 of 4)" in a job, else ""."""
    jax = _jax_of_a_job()
    return "" if jax is None else f" (process {jax.process_index()} of {jax.process_count()})"


def leave_after(end: BaseException, verb: str) -> None:
    """Leave the job at once when something ended this process only; returns if alone, or if all
    processes end so."""
    if _jax_of_a_job() is None:
        return
    from adiff_jax.parallel.processes import leave

    code: Any = 1
    if isinstance(end, SystemExit):
        code = end.code
        if code in _AGREED_ENDS:
            return
    else:
        with contextlib.suppress(OSError):  # a log on a full disk must not keep it here
            traceback.print_exception(end)
            print(
                f"adiff {verb}{who()}: the above ended this process. If it is about the network, "
                "another process has ended before, and its log says why; when that is mended, "
                "start the same command again in all of them",
                file=sys.stderr,
            )
    leave(code if isinstance(code, int) else 1)


def _process() -> int:
    jax = _jax_of_a_job()
    return 0 if jax is None else int(jax.process_index())


def _jax_of_a_job() -> Any:
    """JAX, where this process is part of a job; not imported for the sake of the question."""
    jax = sys.modules.get("jax")
    return jax if jax is not None and jax.distributed.is_initialized() else None
