"""The real objective on every mesh: what ADC-SDD computes is what one device computes."""

from functools import cache
from typing import Any

import jax
import numpy as np
import pytest

from adiff_jax.objectives import Captioning
from adiff_jax.parallel.mesh import MeshConfig, batch_sharding, constrainer, make_mesh
from adiff_jax.parallel.sharding import Rule, Rules, tree_shardings
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import TrainState
from adiff_jax.train.step import loss_gradients, total
from tests.models.toys import audio_batch, fresh, with_sdd
from tests.quick import quick_jit

LATE = with_sdd(stage="late")
ROWS = 16
RULES = Rules(
    (Rule("expand/kernel$", (None, "tensor")), Rule("projection/kernel$", ("fsdp", "tensor"))),
    fsdp_from=256,
)


@cache
def computed(config: MeshConfig) -> tuple[dict[str, float], Any]:
    """(loss and its terms, gradients) of the first batch on a mesh."""
    devices = jax.devices()[: config.data * config.fsdp * config.tensor]
    mesh = make_mesh(config, devices)
    objective = Captioning(LATE, constrain=constrainer(mesh))
    variables = fresh(LATE, audio=True)
    state = TrainState(np.int32(0), variables["params"], variables["batch_stats"], None)
    placed = jax.device_put(state, tree_shardings(state, mesh, RULES))
    for kernel, parts in (
        (placed.params["encoder"]["network"]["dense_1"]["kernel"], config.fsdp),
        (placed.params["projection"]["kernel"], config.fsdp * config.tensor),
    ):
        assert kernel.addressable_shards[0].data.size == kernel.size // parts

    @quick_jit
    def compute(state: TrainState, batch: Any) -> tuple[dict[str, jax.Array], Any]:
        key = jax.random.key(5)
        gradients, terms, _, _ = loss_gradients(objective, Optimizer(), state, batch, key)
        means = {name: sums / weight for name, (sums, weight) in terms.items()}
        return {"loss": total(objective.weights, terms), **means}, gradients

    batch = jax.device_put(audio_batch(rows=ROWS), batch_sharding(mesh))
    losses, gradients = jax.device_get(compute(placed, batch))
    return {name: float(value) for name, value in losses.items()}, gradients


@pytest.mark.slow
@pytest.mark.parametrize("config", [MeshConfig(8), MeshConfig(2, 4), MeshConfig(2, 2, 2)], ids=str)
def test_captioning_with_late_sdd_agrees_with_one_device(config: MeshConfig) -> None:
    losses, gradients = computed(MeshConfig(1))
    found, spread = computed(config)
    assert set(losses) == {"loss", "caption", "similarity", "discrepancy"}
    assert found == pytest.approx(losses, rel=1e-5)
    flat, expected = (
        np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
        for tree in (spread, gradients)
    )
    assert np.linalg.norm(flat - expected) < 1e-4 * np.linalg.norm(expected)
