"""What devices send one another, read from compiled programs."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from adiff_jax.aot.collectives import collectives
from adiff_jax.models.gpt2 import Gpt2, Gpt2Module
from adiff_jax.nn.stack import Stack
from adiff_jax.parallel.mesh import MeshConfig, batch_sharding, constrainer, make_mesh
from adiff_jax.parallel.sharding import Rules, tree_shardings
from tests.quick import quick_jit

CONFIG = Gpt2(layers=2, heads=2, width=32, positions=16, vocab_size=40, dropout=0.0)


def sent(rows: int, stack: Stack) -> float:
    """Bytes that a device sends for the gradient of a batch, all parameters split over fsdp."""
    mesh = make_mesh(MeshConfig(fsdp=8))
    module = Gpt2Module(CONFIG, stack=stack, constrain=constrainer(mesh))
    tokens = jax.ShapeDtypeStruct((rows, 16), jnp.int32, sharding=batch_sharding(mesh))

    def read(module: Gpt2Module, tokens: jax.Array) -> jax.Array:
        return module(module.embed(tokens))  # of a table whose width is split

    shapes = jax.eval_shape(partial(module.init, method=read), jax.random.key(0), tokens)
    placed = tree_shardings(shapes, mesh, Rules(fsdp_from=64))
    given = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        placed,
    )

    def loss(variables: dict, tokens: jax.Array) -> jax.Array:
        return (module.apply(variables, tokens, method=read) ** 2).mean()

    compiled = quick_jit(jax.grad(loss), out_shardings=placed).lower(given, tokens).compile()
    return collectives(compiled.as_text(), 8).moved


@pytest.mark.parametrize(
    "stack", [Stack(), pytest.param(Stack(scan=True, remat=True), marks=pytest.mark.slow)], ids=str
)
def test_with_fsdp_devices_send_parameters_and_gradients_and_no_activations(stack: Stack) -> None:
    assert sent(64, stack) == sent(8, stack) > 0
