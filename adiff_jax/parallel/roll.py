"""The roll of a job: process 0 waits for the others, and all of them learn who has not come.

Nothing here knows JAX: a socket that process 0 opens, one line of JSON from every other process,
and one back. The port is free again when the roll has been called.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SHOWN = 8


class JobError(RuntimeError):
    """A job that cannot start: who is missing, or which setting does not fit."""


@dataclass(frozen=True)
class Job:
    """A process's place. `coordinator` is "host:port" of process 0."""

    coordinator: str
    processes: int
    process: int

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise JobError(f"processes is {self.processes}: a job has at least 1")
        if not 0 <= self.process < self.processes:
            raise JobError(
                f"process is {self.process}: with {self.processes} processes, give each its own "
                f"number from 0 to {self.processes - 1}"
            )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of process 0. Raises JobError for a coordinator of another form."""
        host, colon, port = self.coordinator.rpartition(":")
        if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
            raise JobError(
                f"coordinator is {self.coordinator!r}: give host:port of process 0, such as "
                f"node-0:8482"
            )
        return host.strip("[]"), int(port)


def call_roll(job: Job, timeout: float) -> None:
    """Return, in every process, when all of them are there.

    Raises JobError in all that are there, naming those that are not and where they were awaited.
    """
    deadline = time.monotonic() + timeout
    if job.process == 0:
        _await(job, timeout, deadline)
    else:
        _report(job, timeout, deadline)


def _await(job: Job, timeout: float, deadline: float) -> None:
    host, port = job.address
    come: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(_door(job, host, port))
        while len(come) < job.processes - 1:
            door.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                guest, _ = door.accept()
            except TimeoutError:
                break
            stack.enter_context(guest)
            number = _listen(guest, deadline)
            if number is not None:
                problem = _objection(job, number, come)
                if problem:
                    _tell([guest, *come.values()], problem)
                    raise JobError(problem)
                come[number["process"]] = guest
        absent = [number for number in range(1, job.processes) if number not in come]
        problem = _absence(job, absent, timeout) if absent else ""
        _tell(come.values(), problem)
    if problem:
        raise JobError(problem)


def _door(job: Job, host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(("", port), backlog=max(64, job.processes))
    except OSError as error:
        raise JobError(
            f"process 0 cannot listen on port {port} of {host}: {error.strerror}. Does another job "
            "run there? Give --coordinator with a free port"
        ) from error


def _objection(job: Job, hello: Mapping[str, int], come: Mapping[int, socket.socket]) -> str:
    """Why a process cannot be one of this job; "" when it can."""
    number, processes = hello["process"], hello["processes"]
    if processes != job.processes:
        return (
            f"process {number} believes in {processes} processes, process 0 in {job.processes}: "
            "run the same command everywhere"
        )
    if number in come or number == 0:
        return f"two processes say that they are number {number}: give each its own --process"
    return ""


def _absence(job: Job, absent: list[int], timeout: float) -> str:
    shown = ", ".join(map(str, absent[:_SHOWN])) + (", ..." if len(absent) > _SHOWN else "")
    who = f"process {shown} has" if len(absent) == 1 else f"processes {shown} have"
    return (
        f"{who} not come to {job.coordinator} within {timeout:g} s ({job.processes - len(absent)} "
        f"of {job.processes} are there): look at its log, and whether it can reach that port"
    )


def _report(job: Job, timeout: float, deadline: float) -> None:
    host, port = job.address
    problem = None
    while problem is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise JobError(
                f"process {job.process} found no process 0 at {job.coordinator} within "
                f"{timeout:g} s: has it started, and is that port open between the machines?"
            )
        try:
            with socket.create_connection((host, port), timeout=max(0.1, min(left, 5.0))) as door:
                hello = {"process": job.process, "processes": job.processes}
                door.sendall(json.dumps(hello).encode() + b"\n")
                door.settimeout(max(0.1, left) + 5.0)  # process 0 speaks first at its deadline
                said = _line(door)
                problem = None if said is None else str(json.loads(said))
        except OSError:
            time.sleep(min(0.2, max(0.0, deadline - time.monotonic())))
    if problem:
        raise JobError(problem)


def _listen(guest: socket.socket, deadline: float) -> dict[str, int] | None:
    """What a process says of itself; None for whoever else has called at this port."""
    guest.settimeout(max(0.1, min(5.0, deadline - time.monotonic())))
    try:
        said = json.loads(_line(guest) or "")
        return {name: int(said[name]) for name in ("process", "processes")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _tell(guests: Iterable[socket.socket], problem: str) -> None:
    for guest in guests:
        with contextlib.suppress(OSError):
            guest.sendall(json.dumps(problem).encode() + b"\n")


def _line(door: socket.socket) -> str | None:
    """One line; None when the other side has hung up before its end."""
    text = b""
    while not text.endswith(b"\n"):
        more = door.recv(4096)
        if not more:
            return None
        text += more
    return text.decode()
