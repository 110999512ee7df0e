"""Bytes that the later turns of a program's loops read and write.

The compiler counts the body of a loop once. What a turn takes in and gives on, parameters and a
cache for instance, is read again in every other turn; what it reads and writes in between is not
seen here. Parameters count in whole, as a training gathers them where fsdp splits them.
"""

from collections.abc import Callable, Collection, Sequence
from math import prod
from typing import Any

from jax.extend import core

from adiff_jax.train.flops import inner_jaxprs

Shape = tuple[int, ...]


def later_turns(
    program: core.ClosedJaxpr,
    turns: Sequence[int],
    rows: int,
    shards: int,
    whole: Collection[Shape] = (),
) -> float:
    """Bytes of one device; arrays whose first axis holds `rows` examples are split into `shards`,
    but for those of the shapes `whole`, the parameters'.

    `turns` are those of the `while` loops, in order.
    """

    def size(array: Any) -> float:
        split = bool(array.shape) and array.shape[0] >= rows and array.shape[0] % rows == 0
        parts = shards if split and array.shape not in whole else 1
        return prod(array.shape) * array.dtype.itemsize / parts

    return _bytes(program.jaxpr, list(turns), size)


def _bytes(jaxpr: Any, turns: list[int], size: Callable[[Any], float]) -> float:
    found = 0.0
    for equation in jaxpr.eqns:
        match equation.primitive.name:
            case "scan":
                body = equation.params["jaxpr"].jaxpr
                times = equation.params["length"]
            case "while":
                body = equation.params["body_jaxpr"].jaxpr
                times = turns.pop(0)
            case _:
                for inner in inner_jaxprs(equation.params):
                    found += _bytes(inner, turns, size)
                continue
        once = sum(size(variable.aval) for variable in body.invars)
        found += once * max(times - 1, 0) + times * _bytes(body, turns, size)
    return found
