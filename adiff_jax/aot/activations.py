"""What the forward pass of a train step keeps for its backward pass."""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
from jax.sharding import Mesh

from adiff_jax.aot.programs import state_of, with_rows
from adiff_jax.batch_shapes import abstract_batch
from adiff_jax.experiment import Experiment
from adiff_jax.parallel.mesh import batch_shards
from adiff_jax.train import optim
from adiff_jax.train.step import total


def activations(experiment: Experiment, mesh: Mesh) -> int:
    """Bytes for the rows of one device (of one micro-batch), as traced: without the padding of
    layouts, and of a loss that compares rows those of this device alone.

    The compiler keeps fewer where it fuses, among the temporaries of the compiled program. Copies
    of parameters are not counted.
    """
    objective, state = experiment.objective(), state_of(experiment, mesh)
    config = experiment.train
    rows = config.global_batch // batch_shards(mesh) // config.accumulate
    batch = abstract_batch(with_rows(experiment, rows))
    optimizer = optim.also_frozen(config.optimizer, objective.frozen)

    def loss(trained: Any, params: Any, batch_stats: Any, batch: Any, key: jax.Array) -> jax.Array:
        rngs = dict.fromkeys(objective.streams, key)
        variables = {"params": optim.merge(trained, params), "batch_stats": batch_stats}
        terms, _, _ = objective.loss(variables, batch, rngs, True)
        return total(objective.weights, terms)

    key = jax.eval_shape(lambda: jax.random.key(0))
    params, batch_stats = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (state.params, state.batch_stats)
    )
    trained = optim.trainable(optimizer, params)
    return kept(loss, jax.tree.leaves(params), trained, params, batch_stats, batch, key)


def kept(loss: Callable[..., jax.Array], weights: Any, trained: Any, *rest: Any) -> int:
    """Bytes that lie between `loss` and its derivative by `trained`: neither arguments, nor values
    in the shape of one of the `weights`, or of several matrices of them on one another."""

    def between(trained: Any, *rest: Any) -> list[jax.Array]:
        _, backward = jax.vjp(lambda trained: loss(trained, *rest), trained)
        return jax.tree.leaves(backward)

    program = jax.make_jaxpr(between)(trained, *rest).jaxpr
    one = {leaf.shape for leaf in weights}
    several = {shape for shape in one if len(shape) > 1}
    given = {*program.invars, *program.constvars}
    found = {
        out
        for out in program.outvars
        if not isinstance(out, jax.extend.core.Literal) and out not in given
    }
    shapes = [
        out.aval for out in found if out.aval.shape not in one and out.aval.shape[1:] not in several
    ]
    return sum(prod(aval.shape) * aval.dtype.itemsize for aval in shapes)
