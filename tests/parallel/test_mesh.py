"""Meshes, rows over them, and activations placed by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from adiff_jax.parallel.mesh import (
    MeshConfig,
    batch_sharding,
    check_divides,
    constrainer,
    local_rows,
    make_mesh,
    put_batch,
    replicated,
)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (MeshConfig(), (8, 1, 1)),
        (MeshConfig(data=2, fsdp=4), (2, 4, 1)),
        (MeshConfig(data=2, fsdp=-1, tensor=2), (2, 2, 2)),
    ],
)
def test_one_axis_takes_the_devices_that_are_left(
    config: MeshConfig, shape: tuple[int, int, int]
) -> None:
    mesh = make_mesh(config)
    assert tuple(mesh.shape.values()) == shape
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert set(mesh.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MeshConfig(data=3), "data 3 x fsdp 1 x tensor 1 needs 3 devices, but there are 8"),
        (MeshConfig(fsdp=3), "needs a multiple of 3 devices, but there are 8"),
        (MeshConfig(data=-1, fsdp=-1), "data=-1, fsdp=-1; .* one axis may be -1"),
        (MeshConfig(tensor=0), "tensor=0; an axis holds at least 1 device"),
        (MeshConfig(data=-2), "data=-2"),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_names_the_counts(
    config: MeshConfig, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_mesh(config)


def test_some_devices_make_a_smaller_mesh() -> None:
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    assert mesh.size == 1


def test_rows_of_a_batch_are_split_over_data_and_fsdp_in_order() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    rows = np.arange(16.0).reshape(8, 2)
    placed = put_batch({"x": rows, "valid": np.ones(8, bool)}, mesh)
    np.testing.assert_array_equal(placed["x"], rows)
    assert placed["x"].sharding.is_equivalent_to(batch_sharding(mesh), 2)
    firsts = {shard.index[0].start: shard.data.shape for shard in placed["x"].addressable_shards}
    assert firsts == {0: (2, 2), 2: (2, 2), 4: (2, 2), 6: (2, 2)}
    assert len(jax.device_put(1.0, replicated(mesh)).addressable_shards) == 8


@pytest.mark.parametrize("config", [MeshConfig(8), MeshConfig(2, 2, 2)], ids=str)
def test_local_rows_undo_put_batch_also_for_results_placed_elsewhere(config: MeshConfig) -> None:
    mesh = make_mesh(config)
    rows = np.arange(48.0).reshape(16, 3)
    placed = put_batch({"x": rows}, mesh)["x"]
    np.testing.assert_array_equal(local_rows(placed, mesh), rows)
    np.testing.assert_array_equal(local_rows(jax.device_put(placed, replicated(mesh)), mesh), rows)


@pytest.mark.parametrize(
    ("rows", "accumulate", "message"),
    [
        (12, 1, "global_batch=12 .* data 2 x fsdp 4 .* multiple of 8; use 8 or 16"),
        (5, 1, "use 8$"),
        (0, 1, "use 8$"),
        (24, 2, "in accumulate=2 micro-batches .* multiple of 16; use 16 or 32"),
    ],
)
def test_a_batch_that_the_mesh_does_not_divide_names_the_sizes_that_work(
    rows: int, accumulate: int, message: str
) -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    with pytest.raises(ValueError, match=message):
        check_divides(rows, mesh, accumulate)
    check_divides(16, mesh, accumulate)


def test_activations_are_placed_by_name_and_the_rest_is_left_to_the_compiler() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    constrain = constrainer(mesh)

    @jax.jit
    def place(x: jax.Array) -> jax.Array:
        return constrain(x * 2, ("batch", None, "mlp"))

    assert "sharding_constraint" in place.lower(jnp.ones((8, 3, 6))).as_text()
    placed = place(jnp.ones((8, 3, 6)))
    assert placed.sharding.shard_shape(placed.shape) == (2, 3, 3)


def test_an_axis_that_the_mesh_does_not_divide_stays_whole() -> None:
    constrain = constrainer(make_mesh(MeshConfig(data=4, tensor=2)))
    placed = jax.jit(lambda x: constrain(x, ("batch", "vocab")))(jnp.ones((1, 4)))
    assert placed.sharding.shard_shape(placed.shape) == (1, 2)


def test_names_must_match_the_axes() -> None:
    with pytest.raises(ValueError, match="2 axis names"):
        constrainer(make_mesh(MeshConfig()))(jnp.ones((8, 2, 2)), ("batch", None))
