"""The processes of a job: whether all answer, are alike, reach process 0 and share a time.

Each of these is a collective: every process calls it, in the same order.
"""

import platform
import socket
import statistics
import time

import jax
import numpy as np
from jax.experimental import multihost_utils

from adiff_jax.doctor.finding import Finding, beware, broken, well
from adiff_jax.doctor.software import version
from adiff_jax.evaluate.gather import gather_objects
from adiff_jax.parallel.mesh import MeshConfig, batch_sharding, make_mesh, replicated

_ALIKE = ("adiff_jax", "jax", "jaxlib", "flax", "numpy")
_ROUNDS = 5
_SKEW_WARN, _SKEW_FAIL = 1.0, 60.0
"""Seconds. Which file is newer, and how old a token of a cloud's storage is, goes by the clock."""


def processes() -> Finding:
    """All answer by name, and a sum over all of their devices is right; timed."""
    answered = gather_objects([{"process": jax.process_index(), "node": platform.node()}])
    mesh = make_mesh(MeshConfig())
    count = jax.device_count()
    numbers = jax.make_array_from_callback(
        (count,), batch_sharding(mesh), lambda place: np.arange(count, dtype=np.float32)[place]
    )
    add = jax.jit(jax.numpy.sum, out_shardings=replicated(mesh))
    total = float(add(numbers))
    began = time.perf_counter()
    jax.block_until_ready(add(numbers))
    took = 1000 * (time.perf_counter() - began)
    nodes = len({row["node"] for row in answered})
    text = (
        f"{len(answered)} of {jax.process_count()} answered, on {nodes} node(s); a sum over "
        f"{count} device(s) takes {took:.1f} ms"
    )
    if len(answered) != jax.process_count() or total != count * (count - 1) / 2:
        return broken(
            "processes",
            f"{text} and gives {total:g} instead of {count * (count - 1) / 2:g}",
            "the network between the devices gives wrong sums: change the nodes of the job",
        )
    return well("processes", text)


def alike(experiment_json: str) -> Finding:
    """Versions, devices and experiment are the same in all processes."""
    ours = {name: version(name) for name in _ALIKE} | {
        "Python": platform.python_version(),
        "devices": f"{jax.local_device_count()} × {jax.local_devices()[0].device_kind}",
        "experiment": experiment_json,
    }
    rows = gather_objects([ours])
    differ = [name for name in ours if len({row[name] for row in rows}) > 1]
    if len(rows) == 1:
        return well("alike", "one process")
    if not differ:
        return well("alike", "versions, devices and experiment are the same in all processes")
    lines = []
    for name in differ:
        by_value: dict[str, list[int]] = {}
        for process, row in enumerate(rows):
            by_value.setdefault(row[name], []).append(process)
        shown = (
            f"{'another' if name == 'experiment' else value or 'none'} in {processes}"
            for value, processes in by_value.items()
        )
        lines.append(f"{name}: {', '.join(shown)}")
    return broken(
        "alike",
        f"processes differ: {'; '.join(lines)}",
        "install one constraints.txt and run one command everywhere",
    )


def port(coordinator: str) -> Finding:
    """Whether this process reaches process 0 at `coordinator`, "host:port"; "" without one."""
    if not coordinator:
        return well("port", "none needed" if jax.process_count() == 1 else "found by JAX itself")
    host, _, number = coordinator.rpartition(":")
    began = time.perf_counter()
    try:
        socket.create_connection((host.strip("[]"), int(number)), timeout=10).close()
    except OSError as error:
        return broken(
            "port",
            f"{coordinator} cannot be reached: {error}",
            f"open port {number} between the machines, or give --coordinator with another",
        )
    took = 1000 * (time.perf_counter() - began)
    return well("port", f"{coordinator} answers in {took:.1f} ms")


def clocks() -> Finding:
    """How far the clocks are from that of process 0, by when each passes a common barrier."""
    stamps = []
    for number in range(_ROUNDS):
        multihost_utils.sync_global_devices(f"clock {number}")
        stamps.append(time.time())
    return skew([row["stamps"] for row in gather_objects([{"stamps": stamps}])])


def skew(stamps: list[list[float]]) -> Finding:
    """The same from seconds since 1970 at every barrier, by process."""
    if len(stamps) == 1:
        return well("clocks", "one process, one clock")
    ahead = [
        statistics.median(theirs - first for theirs, first in zip(row, stamps[0], strict=True))
        for row in stamps
    ]
    worst = max(range(len(ahead)), key=lambda process: abs(ahead[process]))
    text = (
        f"that of process {worst} is {abs(ahead[worst]):.3f} s "
        f"{'ahead of' if ahead[worst] > 0 else 'behind'} process 0"
    )
    way_out = "set the clocks by NTP (chrony, systemd-timesyncd)"
    if abs(ahead[worst]) > _SKEW_FAIL:
        return broken("clocks", text, way_out)
    if abs(ahead[worst]) > _SKEW_WARN:
        return beware("clocks", text, way_out)
    return well("clocks", f"within {max(map(abs, ahead)) * 1000:.0f} ms of process 0")
