"""What is kept for the backward pass, counted before anything is compiled."""

from dataclasses import replace

import jax
import jax.numpy as jnp

from adiff_jax.aot.activations import activations, kept
from adiff_jax.aot.programs import with_rows
from adiff_jax.nn.stack import Stack
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from tests.top.tiny_adiff import adiff

WEIGHTS = {name: jax.ShapeDtypeStruct((7, 7), jnp.float32) for name in "ab"}
ROWS = jax.ShapeDtypeStruct((3, 7), jnp.float32)
LAYER = 3 * 7 * 4  # bytes that come out of one


def test_values_between_the_passes_are_counted_once_and_arguments_are_not() -> None:
    def loss(weights: dict[str, jax.Array], rows: jax.Array) -> jax.Array:
        return (jnp.sin(rows @ weights["a"]) @ weights["b"]).sum()  # keeps cos, sin

    assert kept(loss, WEIGHTS.values(), WEIGHTS, ROWS) == 2 * LAYER


def test_copies_of_weights_are_no_activations() -> None:
    def loss(weights: dict[str, jax.Array], rows: jax.Array) -> jax.Array:
        stacked = jnp.stack([2 * weights["a"], weights["b"]])
        return jax.lax.scan(lambda x, w: (x @ w, None), rows, stacked)[0].sum()

    assert kept(loss, WEIGHTS.values(), WEIGHTS, ROWS) == 2 * LAYER  # what each turn was given


def test_a_bias_hides_no_activation_and_a_frozen_weight_is_none() -> None:
    def loss(bias: jax.Array, frozen: jax.Array, rows: jax.Array) -> jax.Array:
        return (jnp.sin(rows + bias) @ jnp.sin(frozen)).sum()  # keeps cos, and sin(frozen)

    bias = jax.ShapeDtypeStruct((7,), jnp.float32)
    assert kept(loss, [bias, WEIGHTS["a"]], bias, WEIGHTS["a"], ROWS) == LAYER


def test_they_grow_with_the_rows_of_a_device_and_remat_has_fewer() -> None:
    eight = make_mesh(MeshConfig(), jax.devices())
    small, large = (with_rows(adiff(), rows) for rows in (16, 32))
    halved = replace(large, train=replace(large.train, accumulate=2))
    assert 1.8 < activations(large, eight) / activations(small, eight) < 2.1
    assert activations(halved, eight) == activations(small, eight)
    again = replace(large, model=replace(large.model, stack=Stack(remat=True)))
    assert activations(again, eight) < 0.8 * activations(large, eight)
