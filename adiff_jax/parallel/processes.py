"""Several processes as one job: the place of each, how they join, and how one leaves.

Every process runs the same command. Which it is, and where process 0 listens, is said by the
options of the command line, by ADIFF_COORDINATOR, ADIFF_PROCESSES and ADIFF_PROCESS, or by what
launched it: GKE on a TPU slice, SLURM, Open MPI.

JAX ends a job with a missing process by a crash that names none. So the roll is called first
(`parallel.roll`), on the port that JAX is about to use.
"""

import contextlib
import multiprocessing
import os
import re
import sys
from collections.abc import Mapping
from typing import Literal, NoReturn

import jax

from adiff_jax.parallel.roll import Job, JobError, call_roll

PORT = 8482
"""Of process 0, where nothing says another: the one that JAX takes on a TPU slice."""

Place = Job | Literal["auto"] | None
"""Of this process: in a job, as JAX finds out from the machine (a TPU VM), or alone."""


def place_of(
    environment: Mapping[str, str], coordinator: str = "", processes: str = "", process: str = ""
) -> Place:
    """The place of this process, from options first ("" is none), then from the environment.

    Raises JobError for settings that are there in part, or do not fit.
    """
    said = {
        "coordinator": coordinator or environment.get("ADIFF_COORDINATOR", ""),
        "processes": processes or environment.get("ADIFF_PROCESSES", ""),
        "process": process or environment.get("ADIFF_PROCESS", ""),
    }
    if said["processes"] == "auto":
        return "auto"
    if any(said.values()):
        return _several(_as_said(said))
    for launcher in (_tpu, _slurm, _open_mpi):
        job = launcher(environment)
        if job is not None:
            return _several(job)
    return None


def _several(job: Job) -> Job | None:
    return job if job.processes > 1 else None


def _as_said(said: Mapping[str, str]) -> Job:
    missing = [name for name, value in said.items() if not value]
    if missing and said["processes"] != "1":
        there = ", ".join(f"{name} {value}" for name, value in said.items() if value)
        options = " and ".join(f"--{name} (or ADIFF_{name.upper()})" for name in missing)
        raise JobError(f"a job is named in part ({there}): give {options} too")
    return Job(said["coordinator"], _whole(said, "processes") or 0, _whole(said, "process") or 0)


def _whole(settings: Mapping[str, str], name: str) -> int | None:
    text = settings.get(name, "").strip()
    if not text:
        return None
    if not text.isdigit():
        raise JobError(f"{name} is {text!r}: it must be a whole number, 0 or more")
    return int(text)


def _tpu(environment: Mapping[str, str]) -> Job | None:
    """A pod of GKE on a TPU slice. (A TPU VM knows by its metadata only: "auto".)"""
    listed = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES")
    number = _whole(environment, "TPU_WORKER_ID")
    if not listed or number is None:
        return None
    hosts = [host.split(":")[0] for host in listed.split(",")]
    slices = _whole(environment, "MEGASCALE_NUM_SLICES") or 1
    first = environment.get("MEGASCALE_COORDINATOR_ADDRESS", "").split(":")[0] or hosts[0]
    number += len(hosts) * (_whole(environment, "MEGASCALE_SLICE_ID") or 0)
    return Job(f"{first}:{PORT}", len(hosts) * slices, number)


def _slurm(environment: Mapping[str, str]) -> Job | None:
    """A job step of SLURM, one task a process."""
    processes = _whole(environment, "SLURM_NTASKS")
    process = _whole(environment, "SLURM_PROCID")
    if processes is None or process is None or "SLURM_STEP_NODELIST" not in environment:
        return None
    # Jobs of one node share its ports.
    job = _whole(environment, "SLURM_JOB_ID") or 0
    host = _first_host(environment["SLURM_STEP_NODELIST"])
    return Job(f"{host}:{PORT + job % 4096}", processes, process)


def _first_host(nodes: str) -> str:
    """ "node007" of "node[007-010,012],other3"."""
    name, bracket, rest = re.split(r",(?![^\[]*\])", nodes)[0].partition("[")
    return name + re.split(r"[,\-\]]", rest)[0] if bracket else name


def _open_mpi(environment: Mapping[str, str]) -> Job | None:
    processes = _whole(environment, "OMPI_COMM_WORLD_SIZE")
    process = _whole(environment, "OMPI_COMM_WORLD_RANK")
    if processes is None or process is None:
        return None
    # "1234.0;tcp://10.0.0.1,10.1.0.1:5678": the launcher's address is on the node of rank 0.
    uri = environment.get("OMPI_MCA_orte_hnp_uri", environment.get("PMIX_SERVER_URI2", ""))
    host = re.search(r"tcp[46]?://\[?([^,:\]]+)", uri)
    if processes > 1 and host is None:
        raise JobError(
            "Open MPI does not say where rank 0 is: give --coordinator host:port of its node, "
            "--processes $OMPI_COMM_WORLD_SIZE and --process $OMPI_COMM_WORLD_RANK"
        )
    return Job(f"{host[1] if host else 'localhost'}:{PORT}", processes, process)


def join(place: Place, timeout: float, heartbeat: float, saves: bool) -> None:
    """Make this process part of its job, before anything asks JAX for devices.

    After `heartbeat` seconds of silence of a process, dead or stopped, JAX ends the others. In a
    job that `saves`, JAX takes SIGTERM for a preemption notice, which training answers; in any
    other it ends the process, as ever. Raises JobError that names the processes which have not come
    within `timeout` seconds.
    """
    jax.config.update("jax_enable_preemption_service", saves)
    seconds = max(1, round(heartbeat))
    if place is None:
        return
    if place == "auto":
        jax.distributed.initialize(
            initialization_timeout=round(timeout), heartbeat_timeout_seconds=seconds
        )
        return
    call_roll(place, timeout)
    jax.distributed.initialize(
        place.coordinator,
        place.processes,
        place.process,
        initialization_timeout=max(10, round(timeout)),
        heartbeat_timeout_seconds=seconds,
    )


def leave(code: int) -> NoReturn:
    """End this process at once: an orderly end would first wait for those that go on without it,
    and they for it."""
    for worker in multiprocessing.active_children():
        worker.kill()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
