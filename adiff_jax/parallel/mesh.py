"""The device mesh `(data, fsdp, tensor)` and the placement of batches and activations on it.

Rows of a batch are split over `data` x `fsdp`; `fsdp` also splits parameters, `tensor` splits
widths. There is no global mesh: every function takes the mesh it places on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import jax
import numpy as np
from jax.experimental.mesh_utils import create_device_mesh, create_hybrid_device_mesh
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from adiff_jax.arrays import Constrain

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")

LOGICAL_AXES: Mapping[str, tuple[str, ...]] = {
    "batch": BATCH_AXES,
    "heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
}
"""Logical names of activation axes that are placed; every other name is the compiler's choice."""


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; one axis may be -1, "all the devices that are left"."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `config` over `devices` (default: all devices of all processes).

    Several TPU slices, joined by a slower network, split the `data` axis and no other. Raises
    ValueError when the axes do not multiply to the number of devices, or `data` does not divide.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [getattr(config, axis) for axis in AXES]
    open_axes = [axis for axis, size in zip(AXES, sizes, strict=True) if size == -1]
    wrong = [f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True) if size < 1]
    if len(open_axes) > 1 or len(wrong) > len(open_axes):
        raise ValueError(
            f"mesh: {', '.join(wrong)}; an axis holds at least 1 device, and one axis may be -1 "
            "(all that are left)"
        )
    known = prod(size for size in sizes if size != -1)
    if open_axes and len(devices) % known == 0:
        sizes[AXES.index(open_axes[0])] = len(devices) // known
    if prod(sizes) != len(devices):
        asked = " x ".join(f"{axis} {getattr(config, axis)}" for axis in AXES)
        raise ValueError(
            f"mesh: {asked} needs {'a multiple of ' if open_axes else ''}{known} devices, but "
            f"there are {len(devices)}; change mesh.data, mesh.fsdp or mesh.tensor"
        )
    types = (AxisType.Auto,) * len(AXES)
    slices = len({getattr(device, "slice_index", None) for device in devices})
    # Where an axis of the mesh is no axis of the slice, any order of its devices will do.
    if slices == 1:
        order = create_device_mesh(sizes, devices, allow_split_physical_axes=True)
        return Mesh(order, AXES, axis_types=types)
    if sizes[0] % slices:
        raise ValueError(
            f"mesh: data {sizes[0]} cannot be split over {slices} slices, between which only whole "
            f"copies of the model are fast enough: make mesh.data a multiple of {slices}"
        )
    within = sizes[0] // slices, *sizes[1:]
    order = create_hybrid_device_mesh(
        within, (slices, 1, 1), devices, allow_split_physical_axes=True
    )
    return Mesh(order, AXES, axis_types=types)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Axis 0 over data x fsdp, the rest whole."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_shards(mesh: Mesh) -> int:
    """Number of parts that the rows of a batch are split into."""
    return prod(mesh.shape[axis] for axis in BATCH_AXES)


def row_unit(mesh: Mesh) -> int:
    """Rows of which a batch holds a multiple, so that each part of the mesh, and each process,
    has the same number."""
    return np.lcm(batch_shards(mesh), jax.process_count()).item()


def check_divides(global_batch: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Raise ValueError unless every micro-batch gives each part of the mesh, and each process,
    the same number of rows."""
    unit = row_unit(mesh) * accumulate
    if global_batch < 1 or global_batch % unit:
        below, above = global_batch // unit * unit, (global_batch // unit + 1) * unit
        choices = f"{below} or {above}" if below > 0 else str(above)
        micro = f" in accumulate={accumulate} micro-batches" if accumulate > 1 else ""
        raise ValueError(
            f"global_batch={global_batch} cannot be split{micro} over data {mesh.shape['data']} x "
            f"fsdp {mesh.shape['fsdp']} on {jax.process_count()} process(es): it must be a "
            f"multiple of {unit}; use {choices}"
        )


def put_batch(arrays: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of every array -> global arrays, rows over data x fsdp.

    Process p of P holds rows p*b/P ... (p+1)*b/P of the global batch.
    """
    sharding, processes = batch_sharding(mesh), jax.process_count()
    return {
        name: jax.make_array_from_process_local_data(
            sharding, rows, (rows.shape[0] * processes, *rows.shape[1:])
        )
        for name, rows in arrays.items()
    }


def local_rows(array: jax.Array, mesh: Mesh) -> np.ndarray:
    """This process's rows of a global array, in order: the inverse of `put_batch`."""
    placed = jax.device_put(array, batch_sharding(mesh))
    by_start = {shard.index[0].start or 0: shard.data for shard in placed.addressable_shards}
    return np.concatenate([np.asarray(by_start[start]) for start in sorted(by_start)])


def constrainer(mesh: Mesh) -> Constrain:
    """Place activations by the logical names of their axes (`LOGICAL_AXES`).

    An axis without a name, with a name that has no place, or of a size that its mesh axes do not
    divide (a single row, an odd vocabulary) is left to the compiler.
    """

    def place(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        if len(axes) != x.ndim:
            raise ValueError(f"{len(axes)} axis names {axes} for an array of shape {x.shape}")
        spec: list[tuple[str, ...] | object] = []
        for name, size in zip(axes, x.shape, strict=True):
            mesh_axes = LOGICAL_AXES.get(name or "", ())
            placed = mesh_axes and size % prod(mesh.shape[a] for a in mesh_axes) == 0
            spec.append(mesh_axes if placed else PartitionSpec.UNCONSTRAINED)
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(*spec)))

    return place
