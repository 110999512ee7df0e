"""A PyTorch module beside its Flax twin: shapes, outputs and gradients.

A file defines `get_parity() -> Parity`; see docs/porting.md. Both modules get the same weights
(those that PyTorch made, each moved by noise, so that no zero bias or unit gain hides a mistake)
and the same inputs, in float32 and evaluation mode. Compared are the outputs, the gradient of every
parameter and the gradient of every floating-point input, for one random weighting of the outputs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from adiff_jax.convert.engine import Sidecar, StateDict, to_ours, to_torch
from adiff_jax.convert.table import Carried, Rule, Table

NOISE = 0.1


@dataclass(frozen=True)
class Parity:
    """What is compared. `inputs` are given to both modules in this order.

    `rules` say which parameter there is which leaf here; `carried` names buffers that have none.
    A difference is measured against the largest value of what it is a part of; above `tolerance`
    it is a mistake.
    """

    torch: Callable[[], Any]  # makes the torch.nn.Module
    module: nn.Module
    inputs: tuple[np.ndarray, ...]
    rules: tuple[Rule, ...]
    carried: tuple[Carried, ...] = ()
    tolerance: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Difference:
    """The largest difference within one array, over the array's largest absolute value."""

    what: str
    shape: tuple[int, ...]
    relative: float


def compare(parity: Parity) -> list[Difference]:
    """Differences of outputs, then of gradients by their names in PyTorch, then of inputs.

    Raises ConversionError that lists every name and shape that the two modules do not share, and
    ValueError when they return another number or another shape of outputs.
    """
    import torch

    rng = np.random.default_rng(parity.seed)
    theirs = parity.torch().float().eval()
    _move(torch, theirs, rng)
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    table = Table(type(theirs).__name__, parity.rules, carried=parity.carried)
    key = jax.random.key(parity.seed)
    abstract = jax.eval_shape(lambda: parity.module.init(key, *parity.inputs))
    converted = to_ours(table, StateDict(state), abstract)

    given = [torch.from_numpy(np.array(x)) for x in parity.inputs]
    floating = [i for i, x in enumerate(parity.inputs) if np.issubdtype(x.dtype, np.floating)]
    for i in floating:
        given[i].requires_grad_()
    expected = jax.tree.leaves(theirs(*given))
    apply = _flat(parity.module, converted.variables)
    found = apply(converted.variables["params"], parity.inputs)
    shapes = [tuple(x.shape) for x in expected]
    if [x.shape for x in found] != shapes:
        raise ValueError(f"PyTorch returns arrays of {shapes}, the twin {[x.shape for x in found]}")
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    sum((x * torch.from_numpy(w)).sum() for x, w in zip(expected, weights, strict=True)).backward()

    def weighed(params: Any, inputs: tuple[Any, ...]) -> jax.Array:
        outputs = apply(params, inputs)
        return sum(((x * w).sum() for x, w in zip(outputs, weights, strict=True)), jnp.zeros(()))

    of_params, of_inputs = jax.grad(weighed, argnums=(0, 1), allow_int=True)(
        converted.variables["params"], parity.inputs
    )
    ours = _by_torch_name(table, of_params, converted.variables, converted.sidecar)
    result = [
        _difference(f"output {i}", a, b.detach().numpy())
        for i, (a, b) in enumerate(zip(found, expected, strict=True))
    ]
    gradients = {
        name: np.zeros(tuple(p.shape), np.float32) if p.grad is None else p.grad.numpy()
        for name, p in theirs.named_parameters()
        if name in ours
    }
    # A gradient that is zero but for rounding is measured against those that are not.
    noise = 1e-3 * max((float(np.abs(g).max(initial=0)) for g in gradients.values()), default=0.0)
    result += [
        _difference(f"gradient of {name}", ours[name], gradient, noise)
        for name, gradient in gradients.items()
    ]
    result += [
        _difference(f"gradient of input {i}", of_inputs[i], np.asarray(given[i].grad))
        for i in floating
    ]
    return result


def report(parity: Parity, differences: list[Difference]) -> Iterator[str]:
    """One line a difference, worst last; then the verdict."""
    for row in sorted(differences, key=lambda row: row.relative):
        mark = "ok  " if row.relative <= parity.tolerance else "FAIL"
        yield f"{mark} {row.relative:9.2e}  {row.what} {row.shape}"
    wrong = sum(row.relative > parity.tolerance for row in differences)
    yield (
        f"{wrong} of {len(differences)} differ by more than {parity.tolerance:g}"
        if wrong
        else f"all {len(differences)} agree within {parity.tolerance:g}"
    )


def _move(torch: Any, module: Any, rng: np.random.Generator) -> None:
    """Add noise to every floating-point parameter and buffer; variances stay positive."""
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = NOISE * rng.standard_normal(tuple(value.shape))
                if name.endswith("running_var"):
                    noise = np.abs(noise)
                value.add_(torch.from_numpy(np.asarray(noise, np.float32)))


def _flat(module: nn.Module, variables: Any) -> Callable[[Any, tuple[Any, ...]], list[jax.Array]]:
    rest = {name: tree for name, tree in variables.items() if name != "params" and tree}

    @jax.jit
    def apply(params: Any, inputs: tuple[Any, ...]) -> list[jax.Array]:
        return jax.tree.leaves(module.apply({"params": params, **rest}, *inputs))

    return apply


def _by_torch_name(
    table: Table, gradients: Any, variables: Any, sidecar: Sidecar
) -> dict[str, np.ndarray]:
    """Gradients in PyTorch's names and layouts; entries without a leaf are left out."""
    tree = {"params": gradients, "batch_stats": variables.get("batch_stats", {})}
    entries = to_torch(table, tree, sidecar).entries
    return {name: value for name, value in entries.items() if name not in sidecar.carried}


def _difference(what: str, ours: Any, theirs: np.ndarray, smallest: float = 1e-30) -> Difference:
    """`smallest` is the scale below which a value is rounding noise."""
    largest = max(float(np.abs(theirs).max(initial=0)), smallest)
    apart = float(np.abs(np.asarray(ours) - theirs).max(initial=0))
    return Difference(what, tuple(theirs.shape), apart / largest)
