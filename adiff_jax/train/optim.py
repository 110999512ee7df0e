"""The optimizer as configuration: AdamW with schedules, masks, multipliers and frozen leaves.

Patterns are full regular expressions on the path of a parameter ("encoder/.*" for everything
below `encoder`); one that matches no parameter is an error. Frozen leaves are not differentiated
and hold no optimizer state: trees of trainable leaves have None in their place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from adiff_jax.parallel.sharding import leaf_path

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is, after `warmup` steps of linear growth."""

    warmup: int = 0


@dataclass(frozen=True)
class WarmupCosine:
    """Linear growth over `warmup` steps, then a half cosine that would reach `end` times the rate
    one step after the last."""

    warmup: int = 0
    end: float = 0.0


@dataclass(frozen=True)
class Steps:
    """Multiplied by `factor` at each of `boundaries` (in steps), after a linear `warmup`.

    `factors`, where given, are one for each boundary, and `factor` then has no effect.
    """

    boundaries: tuple[int, ...] = ()
    factor: float = 0.1
    warmup: int = 0
    factors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.factors and len(self.factors) != len(self.boundaries):
            raise ValueError(
                f"schedule.factors has {len(self.factors)} entries and schedule.boundaries "
                f"{len(self.boundaries)}: give one factor for each boundary, or `factor` for all"
            )


Schedule = Constant | WarmupCosine | Steps


@dataclass(frozen=True)
class Optimizer:
    """AdamW. `multipliers` scales the learning rate by path, the first pattern that matches wins.

    Weight decay is decoupled from the gradient, and spares biases and every leaf of one axis. `l2`
    is the other kind, PyTorch's `Adam(weight_decay=...)`: `l2` times the parameter joins the
    clipped gradient of every leaf before Adam's moments. `clip_norm`, `l2` and `ema` are off at 0.
    """

    learning_rate: float = 3e-4
    schedule: Schedule = Constant()
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float = 1.0
    multipliers: tuple[tuple[str, float], ...] = ()
    freeze: tuple[str, ...] = ()
    ema: float = 0.0
    l2: float = 0.0


def learning_rate(config: Optimizer, steps: int) -> optax.Schedule:
    """The learning rate of each step, counted from 0, in a training of `steps` steps."""
    rate = config.learning_rate
    match config.schedule:
        case Constant():
            after: optax.Schedule = optax.constant_schedule(rate)
        case WarmupCosine(warmup=warmup, end=end):
            after = optax.cosine_decay_schedule(rate, max(steps - warmup, 1), end)
        case Steps(boundaries=boundaries, factor=factor, warmup=warmup, factors=factors):
            each = factors or (factor,) * len(boundaries)
            after = optax.piecewise_constant_schedule(
                rate, {b - warmup: x for b, x in zip(boundaries, each, strict=True)}
            )
    warmup = config.schedule.warmup
    if warmup == 0:
        return after
    before = optax.linear_schedule(rate / warmup, rate, max(warmup - 1, 1))
    return optax.join_schedules([before, after], [warmup])


def transformation(config: Optimizer, steps: int) -> optax.GradientTransformation:
    """Gradients of the trainable leaves -> updates to add to them."""
    first = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    if config.l2:  # within the first link, so that without it the state is what checkpoints hold
        first = optax.chain(first, optax.add_decayed_weights(config.l2))
    return optax.chain(
        first,
        optax.scale_by_adam(config.b1, config.b2, config.eps),
        optax.add_decayed_weights(config.weight_decay, mask=_decays),
        optax.scale_by_learning_rate(learning_rate(config, steps)),
        optax.stateless(lambda updates, _: _multiply(config.multipliers, updates)),
    )


def _decays(params: Params) -> Any:
    # by name as well as by axes: the bias of a layer with heads has two axes
    def decays(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        return leaf.ndim > 1 and not leaf_path(path).endswith(("bias", "bias_table"))

    return jax.tree_util.tree_map_with_path(decays, params)


def _multiply(multipliers: tuple[tuple[str, float], ...], updates: Params) -> Any:
    def scale(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        matching = (x for pattern, x in multipliers if re.fullmatch(pattern, leaf_path(path)))
        return update * next(matching, 1.0)

    return jax.tree_util.tree_map_with_path(scale, updates)


def also_frozen(config: Optimizer, patterns: tuple[str, ...]) -> Optimizer:
    """The optimizer that freezes what these patterns match besides its own."""
    return replace(config, freeze=(*config.freeze, *patterns))


def frozen(config: Optimizer, path: tuple[Any, ...]) -> bool:
    """Whether the leaf at this key path is frozen. Batch statistics follow the same patterns."""
    return any(re.fullmatch(pattern, leaf_path(path)) for pattern in config.freeze)


def trainable(config: Optimizer, params: Params) -> Any:
    """`params` with None in place of frozen leaves."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: None if frozen(config, path) else leaf, params
    )


def merge(trained: Any, params: Params) -> Any:
    """The leaves of `trained`, and those of `params` where it has None."""
    return jax.tree.map(
        lambda new, old: old if new is None else new, trained, params, is_leaf=lambda x: x is None
    )


def average(config: Optimizer, ema: Params | None, params: Params) -> Any:
    """The exponential moving average of the parameters, one step on; None when it is off."""
    if ema is None:
        return None

    def move(path: tuple[Any, ...], old: jax.Array, new: jax.Array) -> jax.Array:
        # rounding would move the average even of a leaf that stays
        return old if frozen(config, path) else old * config.ema + new * (1 - config.ema)

    return jax.tree_util.tree_map_with_path(move, ema, params)


def check_patterns(config: Optimizer, params: Params) -> None:
    """Raise ValueError when a pattern matches no parameter, or nothing is left to train."""
    paths = [leaf_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    fields = [("freeze", pattern) for pattern in config.freeze]
    fields += [("multipliers", pattern) for pattern, _ in config.multipliers]
    for field, pattern in fields:
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise ValueError(
                f"optimizer.{field}: {pattern!r} matches no parameter; paths look like "
                f"{', '.join(paths[:3])}; modules: {', '.join(dict.fromkeys(_tops(paths)))}"
            )
    if not jax.tree.leaves(trainable(config, params)):
        raise ValueError(f"optimizer.freeze: {config.freeze} leaves no parameter to train")


def _tops(paths: list[str]) -> list[str]:
    return [path.split("/")[0] for path in paths]


def global_norm(tree: Any) -> jax.Array:
    """Euclidean norm over all leaves, float32."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(tree)))
