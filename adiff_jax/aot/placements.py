"""Where the sharding rules of an experiment put every leaf of its train state."""

from math import prod

import jax
from jax.sharding import AbstractMesh, Mesh

from adiff_jax.aot.programs import state_of
from adiff_jax.experiment import Experiment
from adiff_jax.parallel.mesh import AXES, MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Placement, rules_table


def placements(experiment: Experiment, mesh: Mesh | AbstractMesh) -> list[tuple[Placement, int]]:
    """Every leaf with the bytes of the whole of it. Raises ValueError for a rule that does not fit
    its leaf."""
    # Shapes are those of any mesh.
    state = state_of(experiment, make_mesh(MeshConfig(), jax.devices()[:1]))
    table = rules_table(state, mesh, experiment.train.sharding)
    sizes = [prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)]
    return list(zip(table, sizes, strict=True))


def without_devices(config: MeshConfig) -> AbstractMesh:
    """A mesh that shows what rules do: that of `config`, with 8 devices along fsdp unless it says
    how many, and 1 in place of "all that are left"."""
    fsdp = config.fsdp if config.fsdp > 1 else 8
    return AbstractMesh((max(config.data, 1), fsdp, max(config.tensor, 1)), AXES)
