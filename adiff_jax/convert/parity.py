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

from adiff_jax.convert.engine import (
    ConversionError,
    Converted,
    Sidecar,
    StateDict,
    to_ours,
    to_torch,
)
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

    def __post_init__(self) -> None:
        if not (isinstance(self.inputs, tuple) and all(hasattr(x, "dtype") for x in self.inputs)):
            raise ValueError("Parity.inputs is no tuple of arrays: give one array an input")


@dataclass(frozen=True)
class Difference:
    """The largest difference within one array, over the array's largest absolute value."""

    what: str
    shape: tuple[int, ...]
    relative: float


def compare(parity: Parity) -> list[Difference]:
    """Differences of outputs, then of gradients by their names in PyTorch, then of inputs.

    Raises ConversionError that lists every name and shape that the two modules do not share,
    ValueError when they return another number or another shape of outputs, and ImportError without
    torch.
    """
    torch = need_torch()
    rng = np.random.default_rng(parity.seed)
    inputs = tuple(_single(given) for given in parity.inputs)
    theirs = parity.torch().float().eval()
    _move(torch, theirs, rng)
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    table = Table(type(theirs).__name__, parity.rules, carried=parity.carried)
    with jax.default_matmul_precision("highest"):
        key = jax.random.key(parity.seed)
        try:
            abstract = jax.eval_shape(parity.module.init, key, *inputs)
        except TypeError as error:
            raise ValueError(f"the twin cannot be given these inputs: {error}") from error
        converted = _convert(table, state, abstract)
        apply = _flat(parity.module, converted.variables)
        found = apply(converted.variables["params"], inputs)

        given = [torch.from_numpy(np.array(x)) for x in inputs]
        floating = [place for place, x in enumerate(inputs) if _is_float(x)]
        for place in floating:
            given[place].requires_grad_()
        try:
            expected = jax.tree.leaves(theirs(*given))
        except TypeError as error:
            raise ValueError(f"PyTorch cannot be given these inputs: {error}") from error
        shapes = [tuple(x.shape) for x in expected]
        if [x.shape for x in found] != shapes:
            raise ValueError(
                f"PyTorch returns arrays of {shapes}, the twin {[x.shape for x in found]}"
            )
        weights = [
            rng.standard_normal(x.shape).astype(np.float32) if x.is_floating_point() else 0
            for x in expected
        ]
        total = sum(
            (x * w).sum() for x, w in zip(expected, map(torch.as_tensor, weights), strict=True)
        )
        if total.requires_grad:
            total.backward()

        def weighed(params: Any, inputs: tuple[Any, ...]) -> jax.Array:
            outputs = apply(params, inputs)
            return sum(
                ((x * w).sum() for x, w in zip(outputs, weights, strict=True)), jnp.zeros(())
            )

        of_params, of_inputs = jax.grad(weighed, argnums=(0, 1), allow_int=True)(
            converted.variables["params"], inputs
        )
    ours = _by_torch_name(table, of_params, converted.variables, converted.sidecar)
    result = [
        _difference(f"output {i}", a, b.detach().numpy())
        for i, (a, b) in enumerate(zip(found, expected, strict=True))
    ]
    gradients = {
        name: _gradient(parameter) for name, parameter in theirs.named_parameters() if name in ours
    }
    # A gradient that is zero but for rounding is measured against those that are not.
    noise = 1e-3 * max((float(np.abs(g).max(initial=0)) for g in gradients.values()), default=0.0)
    result += [
        _difference(f"gradient of {name}", ours[name], gradient, noise)
        for name, gradient in gradients.items()
    ]
    result += [
        _difference(f"gradient of input {place}", of_inputs[place], _gradient(given[place]), noise)
        for place in floating
    ]
    return result


def is_mistake(parity: Parity, difference: Difference) -> bool:
    """Whether a difference is too large, or no number."""
    return not difference.relative <= parity.tolerance


def report(parity: Parity, differences: list[Difference]) -> Iterator[str]:
    """One line a difference, worst last; then the verdict."""
    for row in sorted(differences, key=lambda row: row.relative):
        mark = "FAIL" if is_mistake(parity, row) else "ok  "
        yield f"{mark} {row.relative:9.2e}  {row.what} {row.shape}"
    wrong = sum(is_mistake(parity, row) for row in differences)
    yield (
        f"{wrong} of {len(differences)} differ by more than {parity.tolerance:g}"
        if wrong
        else f"all {len(differences)} agree within {parity.tolerance:g}"
    )


def need_torch() -> Any:
    """The package torch. Raises ImportError that says where to get it."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "a PyTorch module is compared by running it: pip install 'adiff_jax[convert]'"
        ) from error
    return torch


def _convert(table: Table, state: dict[str, np.ndarray], abstract: Any) -> Converted:
    try:
        return to_ours(table, StateDict(state), abstract)
    except ConversionError as error:
        _, _, problems = str(error).partition("\n")
        raise ConversionError(
            f"the rules do not pair every parameter of {table.name} with one of its twin:\n"
            f"{problems}"
        ) from error


def _single(given: np.ndarray) -> np.ndarray:
    return np.asarray(given, np.float32) if _is_float(given) else np.asarray(given)


def _is_float(given: np.ndarray) -> bool:
    return np.issubdtype(given.dtype, np.floating)


def _gradient(tensor: Any) -> np.ndarray:
    """The gradient that PyTorch left; zeros where the tensor has no part in the outputs."""
    if tensor.grad is None:
        return np.zeros(tuple(tensor.shape), np.float32)
    return tensor.grad.numpy()


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


def _difference(what: str, ours: Any, theirs: np.ndarray, smallest: float = 0.0) -> Difference:
    """`smallest` is the scale below which a value is rounding noise."""
    largest = max(float(np.abs(theirs).max(initial=0)), smallest, 1e-30)
    apart = float(np.abs(np.asarray(ours, np.float64) - theirs).max(initial=0))
    relative = apart / largest
    return Difference(what, tuple(theirs.shape), relative if np.isfinite(relative) else np.inf)
