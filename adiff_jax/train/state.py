"""The train state: abstract first, then placed by rules, then made (or restored) where it lives.

abstract = abstract_state(...)        shapes and shardings, nothing computed
state = fresh_state(..., abstract)    each device computes its own part
state = with_variables(state, overlay(state_variables, pretrained, mapping))
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh

from adiff_jax.arrays import Batch
from adiff_jax.parallel.sharding import Rules, leaf_path, tree_shardings
from adiff_jax.protocol import Objective, Variables
from adiff_jax.train.optim import Optimizer, also_frozen, trainable, transformation


@struct.dataclass
class TrainState:
    """Everything that a step changes, and all that a checkpoint holds."""

    step: Any  # [] int32, updates made so far
    params: Any
    batch_stats: Any  # {} without batch norm
    opt_state: Any  # of the trainable leaves only
    ema: Any = None  # averaged params, frozen leaves included; None when off

    @property
    def variables(self) -> dict[str, Any]:
        """What evaluation and use apply: the averaged parameters where there are any."""
        params = self.params if self.ema is None else self.ema
        return {"params": params, "batch_stats": self.batch_stats}


def random_keys(seed: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """The keys of initialisation and of the steps."""
    init, steps = jax.random.split(jax.random.key(seed))
    return init, steps


def _make(objective: Objective, optimizer: Optimizer, steps: int, batch: Batch, seed: Any) -> Any:
    variables = objective.init(random_keys(seed)[0], batch)
    params = variables["params"]
    optimizer = also_frozen(optimizer, objective.frozen)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=transformation(optimizer, steps).init(trainable(optimizer, params)),
        ema=params if optimizer.ema else None,
    )


def abstract_state(
    objective: Objective, optimizer: Optimizer, steps: int, batch: Batch, mesh: Mesh, rules: Rules
) -> TrainState:
    """The state as ShapeDtypeStructs that carry their shardings.

    `batch` gives shapes only (arrays or ShapeDtypeStructs).
    """
    shapes = jax.eval_shape(
        lambda rows: _make(objective, optimizer, steps, rows, 0), jax.eval_shape(lambda: batch)
    )
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        tree_shardings(shapes, mesh, rules),
    )


def fresh_state(
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    batch: Batch,
    seed: int,
    abstract: TrainState,
) -> TrainState:
    """A new state, computed where `abstract` places it; the same values on every mesh."""

    def make(seed: jax.Array) -> TrainState:
        rows = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), batch)
        return _make(objective, optimizer, steps, rows, seed)

    return jax.jit(make, out_shardings=shardings_of(abstract))(np.uint32(seed))


def shardings_of(abstract: Any) -> Any:
    """The sharding of every leaf."""
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)


def with_variables(state: TrainState, variables: Variables) -> TrainState:
    """The state with other parameters and batch statistics; the average starts from them."""
    params = variables["params"]
    ema = None if state.ema is None else jax.tree.map(jnp.copy, params)
    return state.replace(  # type: ignore[attr-defined]
        params=params, batch_stats=variables.get("batch_stats", {}), ema=ema
    )


def overlay(
    variables: Variables, pretrained: Variables, mapping: tuple[tuple[str, str], ...]
) -> Variables:
    """`variables` (or their shapes) with subtrees taken from `pretrained`, placed as those they
    replace.

    Each (source, target) of `mapping` is a subtree of `pretrained` and one of `variables`
    ("encoder", "model/encoder"; "" is the whole), in parameters and batch statistics alike. They
    must match leaf by leaf; ValueError lists every leaf that is on one side only, or of another
    shape.
    """
    result = {name: _by_path(variables.get(name, {})) for name in ("params", "batch_stats")}
    problems = []
    for source, target in mapping:
        matched = 0
        for collection, leaves in result.items():
            given = _below(_by_path(pretrained.get(collection, {})), source)
            wanted = _below(leaves, target)
            matched += len(given.keys() & wanted.keys())
            for path in sorted(given.keys() | wanted.keys()):
                full = f"{target}/{path}".strip("/")
                shapes = [side[path].shape if path in side else None for side in (given, wanted)]
                if shapes[0] == shapes[1]:
                    leaves[full] = _placed_like(given[path], wanted[path])
                else:
                    problems.append(
                        f"{collection}/{full}: {_shown(shapes[0])} in the pretrained weights "
                        f"(below {source!r}), {_shown(shapes[1])} in the model"
                    )
        if not matched:
            problems.append(f"{source!r} -> {target!r}: no leaf in common")
    if problems:
        raise ValueError(
            "pretrained weights do not fit the model; nothing was loaded:\n  "
            + "\n  ".join(problems)
        )
    return {name: _rebuilt(variables.get(name, {}), leaves) for name, leaves in result.items()}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "not" if shape is None else str(shape)


def _by_path(tree: Any) -> dict[str, Any]:
    return {leaf_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _below(leaves: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    start = f"{prefix}/" if prefix else ""
    return {path[len(start) :]: leaf for path, leaf in leaves.items() if path.startswith(start)}


def _placed_like(value: Any, leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    rows = np.asarray(value).astype(leaf.dtype)
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: rows[index])


def _rebuilt(tree: Any, leaves: Mapping[str, Any]) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: leaves[leaf_path(path)], tree)
