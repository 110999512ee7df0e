"""Making and placing the state; pretrained weights over it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from adiff_jax.arrays import Batch
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Rules
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import TrainState, abstract_state, fresh_state, overlay, with_variables
from tests.train.tiny import Net, Regression, rows_of

BATCH = Batch(**{name: jnp.asarray(rows) for name, rows in rows_of(0).items()})
NET = Regression(Net(batch_norm=True))


def fresh(mesh: Mesh, optimizer: Optimizer = Optimizer(), seed: int = 7) -> TrainState:  # noqa: B008
    abstract = abstract_state(NET, optimizer, 100, BATCH, mesh, Rules(fsdp_from=1))
    return fresh_state(NET, optimizer, 100, BATCH, seed, abstract)


def test_a_fresh_state_has_the_same_values_on_every_mesh_and_lives_where_the_rules_say() -> None:
    alone = fresh(make_mesh(MeshConfig(), jax.devices()[:1]))
    spread = fresh(make_mesh(MeshConfig(data=2, fsdp=4)))
    jax.tree.map(np.testing.assert_array_equal, alone, spread)
    kernel = spread.params["encoder"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(12, 8)}
    moment = spread.opt_state[1].mu["encoder"]["kernel"]
    assert moment.sharding == kernel.sharding


def test_the_seed_decides_the_parameters() -> None:
    mesh = make_mesh(MeshConfig())
    first, again, other = fresh(mesh), fresh(mesh), fresh(mesh, seed=8)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.params["head"]["kernel"], other.params["head"]["kernel"])


def test_abstract_init_computes_nothing_and_agrees_with_the_fresh_state() -> None:
    mesh = make_mesh(MeshConfig(fsdp=4))
    abstract = abstract_state(NET, Optimizer(ema=0.9), 100, BATCH, mesh, Rules(fsdp_from=1))
    made = fresh(mesh, Optimizer(ema=0.9))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(abstract))

    def same(a: jax.ShapeDtypeStruct, b: jax.Array) -> None:
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.sharding.is_equivalent_to(b.sharding, b.ndim)

    jax.tree.map(same, abstract, made)


def test_frozen_leaves_are_not_in_the_optimizer_state() -> None:
    state = fresh(make_mesh(MeshConfig()), Optimizer(freeze=("encoder/.*", "norm/.*")))
    paths = [
        jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(state.opt_state)
    ]
    assert any("head" in path for path in paths)
    assert not any("encoder" in path or "norm" in path for path in paths)


def test_variables_for_use_are_the_average_where_there_is_one() -> None:
    mesh = make_mesh(MeshConfig())
    plain, averaged = fresh(mesh), fresh(mesh, Optimizer(ema=0.9))
    assert plain.variables["params"] is plain.params
    assert averaged.variables["params"] is averaged.ema
    moved = with_variables(averaged, jax.tree.map(lambda x: x + 1, averaged.variables))
    jax.tree.map(np.testing.assert_array_equal, moved.ema, moved.params)
    # a donated state may not hold one buffer twice
    jax.jit(lambda state: jax.tree.map(lambda x: x * 2, state), donate_argnums=0)(moved)


PRETRAINED = {
    "params": {
        "body": {
            "dense": {"kernel": np.full((12, 32), 2.0), "bias": np.full(32, 3.0)},
            "norm": {"scale": np.full(32, 4.0), "bias": np.full(32, 5.0)},
        },
        "classifier": {"kernel": np.zeros((32, 50))},
    },
    "batch_stats": {"body": {"norm": {"mean": np.full(32, 6.0), "var": np.full(32, 7.0)}}},
}


def test_an_overlay_fills_its_subtrees_statistics_included_and_keeps_their_placement() -> None:
    state = fresh(make_mesh(MeshConfig(data=2, fsdp=4)))
    mapping = (("body/dense", "encoder"), ("body/norm", "norm"))
    found = overlay(state.variables, PRETRAINED, mapping)
    np.testing.assert_array_equal(found["params"]["encoder"]["kernel"], 2.0)
    np.testing.assert_array_equal(found["params"]["norm"]["bias"], 5.0)
    np.testing.assert_array_equal(found["batch_stats"]["norm"]["var"], 7.0)
    assert found["params"]["head"]["kernel"] is state.params["head"]["kernel"]

    def placed_alike(new: jax.Array, old: jax.Array) -> None:
        assert new.dtype == old.dtype and new.sharding == old.sharding

    jax.tree.map(placed_alike, found["params"], dict(state.params))


def test_an_overlay_that_does_not_fit_lists_everything_that_is_wrong() -> None:
    state = fresh(make_mesh(MeshConfig()))
    pretrained = {
        "params": {"dense": {"kernel": np.zeros((12, 31)), "gain": np.zeros(1)}},
    }
    mapping = (("dense", "encoder"), ("nowhere", "norm"))
    with pytest.raises(ValueError) as error:
        overlay(state.variables, pretrained, mapping)
    message = str(error.value)
    for line in (
        "params/encoder/kernel: (12, 31) in the pretrained weights (below 'dense'), (12, 32)",
        "params/encoder/gain: (1,) in the pretrained weights (below 'dense'), not in the model",
        "params/encoder/bias: not in the pretrained weights (below 'dense'), (32,) in the model",
        "params/norm/scale: not in the pretrained weights (below 'nowhere')",
        "batch_stats/norm/mean: not in the pretrained weights",
        "'nowhere' -> 'norm': no leaf in common",
    ):
        assert line in message
