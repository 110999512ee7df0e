"""One training step as a pure function.

The loss is sum over terms of weight * (sum of the term / its weight); a term whose weight is 0
in a batch counts 0. A step that would do harm changes nothing: when the loss or the gradient is
not finite, the loss is above its limit, or an earlier step was refused, the state comes back as
it was, with `applied` False.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from adiff_jax.arrays import Batch, Term
from adiff_jax.protocol import Objective
from adiff_jax.train import optim
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import TrainState, random_keys

Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch, jax.Array, jax.Array], tuple[TrainState, Metrics]]


def make_train_step(
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    accumulate: int = 1,
    loss_limit: float = float("inf"),
) -> Step:
    """The step `(state, batch, seed, step) -> (state, metrics)`, to be jitted.

    `step` is the number of updates that the state should have; all draws are a function of
    (seed, step). Metrics are scalars on the device: `loss`, `loss/<term>` and the objective's own
    (NaN where no row of the batch has any), `gradient_norm`, `learning_rate`, and bool `applied`.

    Raises ValueError when `accumulate` > 1 and the objective couples examples.
    """
    if accumulate > 1 and objective.couples_examples:
        raise ValueError(
            f"accumulate={accumulate}: this objective has a loss term or batch norm that looks "
            "across the batch, so micro-batches do not add up to the full batch; set accumulate=1 "
            "and a smaller global_batch, or more devices"
        )
    optimizer = optim.also_frozen(optimizer, objective.frozen)
    update = optim.transformation(optimizer, steps).update
    rate = optim.learning_rate(optimizer, steps)

    def train_step(
        state: TrainState, batch: Batch, seed: jax.Array, step: jax.Array
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(random_keys(seed)[1], step)
        gradients, terms, batch_stats, metrics = loss_gradients(
            objective, optimizer, state, batch, key, accumulate
        )
        norm, loss = optim.global_norm(gradients), total(objective.weights, terms)
        trained = optim.trainable(optimizer, state.params)
        updates, opt_state = update(gradients, state.opt_state, trained)
        params = optim.merge(jax.tree.map(jnp.add, trained, updates), state.params)
        changed = TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=_hold_frozen(optimizer, batch_stats, state.batch_stats),
            opt_state=opt_state,
            ema=optim.average(optimizer, state.ema, params),
        )
        good = jnp.isfinite(loss) & jnp.isfinite(norm) & (loss <= loss_limit) & (state.step == step)
        return jax.tree.map(lambda new, old: jnp.where(good, new, old), changed, state), {
            "loss": loss,
            **{f"loss/{name}": _measured(term) for name, term in terms.items()},
            **{name: _measured(term) for name, term in metrics.items()},
            "gradient_norm": norm,
            "learning_rate": rate(step),
            "applied": good,
        }

    return train_step


def mean(term: Term, weight: Any = None) -> jax.Array:
    """sum / weight (or another weight in its place); 0 where that is 0."""
    weight = term[1] if weight is None else weight
    return jnp.where(weight == 0, 0.0, term[0] / jnp.where(weight == 0, 1.0, weight))


def _measured(term: Term) -> jax.Array:
    """The mean for the log, where 0 would be a claim: NaN without any weight."""
    return jnp.where(term[1] == 0, jnp.nan, mean(term))


def total(
    weights: Mapping[str, float],
    terms: Mapping[str, Term],
    denominators: Mapping[str, Any] | None = None,
) -> jax.Array:
    """The weighted sum of the terms' means. Raises ValueError unless each term has its weight."""
    if terms.keys() != weights.keys():
        raise ValueError(f"loss terms {sorted(terms)} but weights for {sorted(weights)}")
    denominators = denominators or {name: weight for name, (_, weight) in terms.items()}
    parts = [weights[name] * mean(term, denominators[name]) for name, term in terms.items()]
    return jnp.sum(jnp.stack(parts))


def loss_gradients(
    objective: Objective,
    optimizer: Optimizer,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    accumulate: int = 1,
) -> tuple[Any, dict[str, Term], Any, dict[str, Term]]:
    """(gradients of the trainable leaves, terms, new batch statistics, metrics) of a batch."""

    def loss(
        trained: Any, rows: Batch, key: jax.Array, denominators: Mapping[str, Any] | None = None
    ) -> tuple[jax.Array, tuple[dict[str, Term], Any, dict[str, Term]]]:
        rngs = {name: jax.random.fold_in(key, i) for i, name in enumerate(objective.streams)}
        variables = {
            "params": optim.merge(trained, state.params),
            "batch_stats": state.batch_stats,
        }
        terms, batch_stats, metrics = objective.loss(variables, rows, rngs, True)
        return total(objective.weights, terms, denominators), (terms, batch_stats, metrics)

    trained = optim.trainable(optimizer, state.params)
    if accumulate == 1:
        gradients, (terms, batch_stats, metrics) = jax.grad(loss, has_aux=True)(trained, batch, key)
        return gradients, terms, batch_stats, metrics

    # Row r goes to micro-batch r % accumulate: each device keeps the rows that it has.
    parts = (
        jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch),
        jax.random.split(key, accumulate),
    )

    def weights_of(part: tuple[Batch, jax.Array]) -> dict[str, Any]:
        terms, _, _ = loss(trained, *part)[1]
        return {name: weight for name, (_, weight) in terms.items()}

    # The weight of each term in the whole batch; the compiler drops everything else of this pass.
    denominators = jax.tree.map(lambda w: w.sum(axis=0), jax.lax.map(weights_of, parts))

    def gradients_of(part: tuple[Batch, jax.Array]) -> tuple[Any, Any, Any]:
        gradients, (terms, _, metrics) = jax.grad(loss, has_aux=True)(trained, *part, denominators)
        return gradients, terms, metrics

    def add(so_far: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, so_far, gradients_of(part)), None

    first = jax.tree.map(lambda x: x[0], parts)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradients_of, first))
    (gradients, terms, metrics), _ = jax.lax.scan(add, zeros, parts)
    return gradients, terms, state.batch_stats, metrics


def _hold_frozen(optimizer: Optimizer, new: Any, old: Any) -> Any:
    """Batch statistics of frozen modules stay as they were."""
    return jax.tree_util.tree_map_with_path(
        lambda path, fresh, kept: kept if optim.frozen(optimizer, path) else fresh, new, old
    )
