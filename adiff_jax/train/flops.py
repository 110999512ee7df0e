"""The products of a traced program, counted by hand.

Compilers count the body of a loop once, however often it runs, and what they have fused away not
at all. Here the jaxpr is walked as it is executed: bodies of scans times their length, bodies of
other loops times the turns that the caller knows, what `remat` computes again a second time (the
backward pass holds it once more), branches by the costliest. Counted are matrix products and
convolutions, two operations for each product that is added; of a convolution only the taps that
meet an element of the input. Everything else, softmax and norms among it, is left out: a model's
own operations in the sense of "model FLOPs utilisation", but with `remat`, where what is computed
again makes it what is called "hardware FLOPs utilisation".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval


@dataclass(frozen=True)
class Flops:
    """Operations of all devices together.

    `passes` weighs each by how often a TPU's matrix unit, which multiplies bf16, goes over it:
    once, 6 times for float32 at highest precision, 3 times at high (`jax.lax.Precision`).
    """

    count: float = 0.0
    passes: float = 0.0

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.count + other.count, self.passes + other.passes)

    def __mul__(self, times: int) -> "Flops":
        return Flops(self.count * times, self.passes * times)


class UnknownLoopError(ValueError):
    """A `while` loop of which nobody has said how often it turns."""


def count(program: core.ClosedJaxpr, turns: Sequence[int] = ()) -> Flops:
    """The operations of a program whose `while` loops, in order, take `turns`.

    What no result needs is not counted. Raises UnknownLoopError for a loop without a number, and
    ValueError for a number without a loop.
    """
    jaxpr = program.jaxpr
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    left = list(turns)
    found = _count(used, left)
    if left:
        raise ValueError(f"turns are given for {len(turns)} loops, {len(left)} more than there are")
    return found


def _count(jaxpr: Any, turns: list[int]) -> Flops:
    found = Flops()
    for equation in jaxpr.eqns:
        params = equation.params
        match equation.primitive.name:
            case "dot_general":
                found += _product(equation, _dot(equation))
            case "conv_general_dilated":
                found += _product(equation, _convolution(equation))
            case "scan":
                found += _count(params["jaxpr"].jaxpr, turns) * params["length"]
            case "while":
                now = turns.pop(0) if turns else None
                body = _count(params["body_jaxpr"].jaxpr, turns)
                if now is None and body.count:
                    raise UnknownLoopError("a while loop without its number of turns")
                found += body * (now or 0)
            case "cond":
                branches = [_count(branch.jaxpr, turns) for branch in params["branches"]]
                found += max(branches, key=lambda branch: branch.passes)
            case _:
                for inner in inner_jaxprs(params):
                    found += _count(inner, turns)
    return found


def inner_jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    """The programs that an equation calls once."""
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value


def _product(equation: Any, operations: float) -> Flops:
    types = {operand.aval.dtype for operand in equation.invars}
    precision = equation.params["precision"]
    single = np.dtype(np.float32) in types
    if isinstance(precision, tuple):
        precision = precision[0]
    times = {jax.lax.Precision.HIGHEST: 6, jax.lax.Precision.HIGH: 3}.get(precision, 1)
    return Flops(operations, operations * (times if single else 1))


def _dot(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2.0 * prod(equation.outvars[0].aval.shape) * prod(left[axis] for axis in contracted)


def _convolution(equation: Any) -> float:
    params, (left, right) = equation.params, (operand.aval.shape for operand in equation.invars)
    out = equation.outvars[0].aval.shape
    numbers = params["dimension_numbers"]
    spatial = zip(
        numbers.lhs_spec[2:],
        numbers.rhs_spec[2:],
        numbers.out_spec[2:],
        params["window_strides"],
        params["padding"],
        params["lhs_dilation"],
        params["rhs_dilation"],
        strict=True,
    )
    met = [
        _taps(left[i], right[k], out[o], stride, before, wide, apart)
        for i, k, o, stride, (before, _), wide, apart in spatial
    ]
    rows, features = (out[axis] for axis in numbers.out_spec[:2])
    # The kernel's input channels are those of one group.
    each = rows * features * right[numbers.rhs_spec[1]]
    return 2.0 * each * prod(met)


def _taps(
    size: int, taps: int, outputs: int, stride: int, before: int, wide: int, apart: int
) -> int:
    """Pairs of an output and a tap that meet an element along one axis: not padding, and not what
    dilation puts between elements."""
    place = np.arange(outputs)[:, None] * stride + np.arange(taps) * apart - before
    return int(((place >= 0) & (place <= (size - 1) * wide) & (place % wide == 0)).sum())
