"""A stack of equal layers, one after the other, and two ways to save on it.

Neither changes a parameter's place, so that checkpoints, sharding rules, conversions and decoding
know nothing of them. `remat` trades time for memory: only what passes between the layers is kept
for the backward pass (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). `scan`
trades a copy of the parameters for time to compile: a program with one layer in a loop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from adiff_jax.arrays import Constrain

Layer = TypeVar("Layer", bound=nn.Module)


@dataclass(frozen=True)
class Stack:
    """How teacher forcing runs a transformer's layers; the numbers are the same but for rounding,
    and for what dropout draws with `scan`."""

    scan: bool = False  # compile one layer in a loop, not each by itself
    remat: bool = False  # keep only what passes between layers, compute the rest again


def run_stack(
    stack: Stack,
    layers: Sequence[Layer],
    x: jax.Array,
    run: Callable[[Layer, jax.Array], jax.Array],
    constrain: Constrain,
) -> jax.Array:
    """`run(layer, x)` by each of `layers` in turn, on what the one before gave; shape [b t d] and
    dtype of `x` stay.

    What passes between layers is split by rows, backwards too: where the rows' devices also split
    the parameters (fsdp), the compiler would else split widths, and gather activations in the
    place of parameters.

    Scanned layers have parameters only, and what they sow would be lost: a module that is being
    initialised, or asked for intermediates, is not scanned.
    """

    def step(layer: Layer, x: jax.Array) -> jax.Array:
        return constrain(run(layer, x), ("batch", None, None))

    if not layers:
        return x
    x, first = constrain(x, ("batch", None, None)), layers[0]
    asked = first.is_initializing() or first.is_mutable_collection("intermediates")
    if not stack.scan or len(layers) == 1 or asked:
        step = nn.remat(step) if stack.remat else step
        for layer in layers:
            x = step(layer, x)
        return x
    parameters = (layer.variables["params"] for layer in layers)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parameters)
    draws = first.has_rng("dropout")
    keys = jax.random.split(first.make_rng("dropout"), len(layers)) if draws else None
    apply = nn.apply(step, first.clone(parent=None))

    def turn(x: jax.Array, given: tuple[object, jax.Array | None]) -> tuple[jax.Array, None]:
        parameters, key = given
        return apply({"params": parameters}, x, rngs={} if key is None else {"dropout": key}), None

    if stack.remat:
        turn = jax.checkpoint(turn, prevent_cse=False)  # a loop's body is not merged with another
    return jax.lax.scan(turn, x, (stacked, keys))[0]
