"""Where a run writes: the cache of compiled programs, and its directory.

With several processes both are collectives: every process calls them, in the same order.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from adiff_jax.checkpoint.run_directory import RunDirectory, RunDirectoryError
from adiff_jax.doctor.devices import size
from adiff_jax.doctor.finding import Finding, beware, broken, well
from adiff_jax.evaluate.gather import gather_objects
from adiff_jax.experiment import Experiment
from adiff_jax.experiment_json import to_json
from adiff_jax.parallel.mesh import MeshConfig, batch_sharding, make_mesh
from adiff_jax.run import MAY_CHANGE

_HIT = "/jax/compilation_cache/cache_hits"
_SHARED = ("nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "gpfs", "beegfs", "9p", "virtiofs")
_OF_MEMORY = ("tmpfs", "ramfs")


def compile_cache(directory: os.PathLike[str] | str) -> Finding:
    """Whether programs can be written to the cache at `directory`, and the second one like a first
    comes from there. JAX must use that directory (`train.compilation.enable_compile_cache`)."""
    problem = _unwritable(epath.Path(directory))
    hits = []
    with _everything_cached():
        for _ in range(2):
            hits.append(_comes_from_cache())
            multihost_utils.sync_global_devices("doctor: compiled")
    if problem:
        return beware(
            "compile cache",
            f"{directory} cannot be written: {problem}",
            "name a directory that can in JAX_COMPILATION_CACHE_DIR, or every start compiles anew",
        )
    if hits[1]:
        return well("compile cache", f"{directory}, written and read back")
    if jax.process_index() > 0 and jax.default_backend() == "cpu":
        # There the key of a program tells the processes apart, and only process 0 writes.
        return well("compile cache", f"{directory}; on CPUs JAX keeps programs of process 0 only")
    if jax.process_index() > 0:
        return beware(
            "compile cache",
            f"{directory} is not that of process 0, which alone writes programs",
            "name one directory that all processes share in JAX_COMPILATION_CACHE_DIR, or this "
            "process compiles anew at every start",
        )
    return beware(
        "compile cache",
        f"{directory} can be written, but a program that was compiled twice was not found there",
        "unset JAX_ENABLE_COMPILATION_CACHE; every start compiles anew",
    )


def _comes_from_cache() -> bool:
    """Compile one small program over all devices; whether it was taken from the cache."""
    hits: list[str] = []

    def heard(event: str, **_: str | int) -> None:
        if event == _HIT:
            hits.append(event)

    def doctor(x: jax.Array) -> jax.Array:
        return (x * 2.0).sum()

    shape = jax.ShapeDtypeStruct(
        (jax.device_count(),), np.float32, sharding=batch_sharding(make_mesh(MeshConfig()))
    )
    jax.monitoring.register_event_listener(heard)
    try:
        jax.jit(doctor).lower(shape).compile()
    finally:
        jax.monitoring.unregister_event_listener(heard)
    return bool(hits)


@contextmanager
def _everything_cached() -> Iterator[None]:
    """Programs of any size are kept; usually it is those that took a second to compile."""
    wanted = {
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def run_directory(run: RunDirectory, experiment: Experiment | None, needed: int) -> Finding:
    """Whether the directory can be written, is one place to all processes, has room for `needed`
    bytes of checkpoints (0: not known), and is free for this experiment."""
    place = run.path  # an object store has no directories to be made first
    if "://" not in str(place):
        place = next(path for path in (place, *place.parents) if path.exists())
    probe = place / f".doctor-{gather_objects([{'name': uuid.uuid4().hex}])[0]['name']}"
    problem = _unwritable(probe.parent, probe.name) if jax.process_index() == 0 else ""
    multihost_utils.sync_global_devices("doctor: written")
    seen = jax.process_index() == 0 or probe.exists()
    multihost_utils.sync_global_devices("doctor: seen")
    if jax.process_index() == 0:
        probe.unlink(missing_ok=True)

    what, kind, free = str(run.path), file_system(place), free_bytes(place)
    what += " (to be made)" if place != run.path else ""
    what += f", {kind}" + ("" if free is None else f", {size(free)} free")
    elsewhere = "give --workdir a directory"
    if problem:
        return broken("run directory", f"{what}: {problem}", f"{elsewhere} that can be written")
    if not seen:
        return broken(
            "run directory",
            f"{what}: not the one in which process 0 writes",
            f"{elsewhere} that all processes share, or gs://",
        )
    if experiment is not None:
        try:
            run.check_owner(to_json(experiment), MAY_CHANGE)
        except RunDirectoryError as error:
            return broken("run directory", str(error), f"{elsewhere} of its own")
    if free is not None and free < needed:
        return broken(
            "run directory",
            f"{what}, while checkpoints need {size(needed)}",
            "make room, lower train.keep_last, or choose another --workdir",
        )
    if kind in _OF_MEMORY:
        return beware(
            "run directory", f"{what}: gone when the machine restarts", f"{elsewhere} on a disk"
        )
    what += f", checkpoints need {size(needed)}" if needed else ""
    return well("run directory", what)


def file_system(path: epath.Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Kind of the file system that holds `path`, such as "ext4" or "nfs4 (shared)".

    "an object store" for gs:// and the like, "a local path" where /proc/mounts is not to be had.
    """
    if "://" in str(path):
        return f"{str(path).partition('://')[0]}:// (an object store)"
    if not mounts.exists():
        return "a local path"
    # "server:/export /home nfs4 rw,... 0 0", spaces as \040; a later mount covers an earlier one
    mounted = [line.split() for line in mounts.read_text().splitlines()]
    places = {Path(fields[1].replace("\\040", " ")): fields[2] for fields in mounted}
    own = Path(str(path)).resolve()
    kind = next((places[above] for above in (own, *own.parents) if above in places), "")
    shared = kind in _SHARED or kind.startswith("fuse.")
    return f"{kind} (shared)" if shared else kind or "a local path"


def free_bytes(path: epath.Path) -> int | None:
    """Room that is left; None where nobody counts."""
    return None if "://" in str(path) else shutil.disk_usage(os.fspath(path)).free


def _unwritable(directory: epath.Path, keep: str = "") -> str:
    """Why a file cannot be written there and read back; "" when it can.

    The file is called `keep` and stays, or goes again where that is "".
    """
    file = directory / (keep or f".doctor-{uuid.uuid4().hex}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file.write_text("written by adiff doctor")
        same = file.read_text() == "written by adiff doctor"
        if not keep:
            file.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return "" if same else "what is read back is not what was written"
