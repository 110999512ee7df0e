"""Bytes that the later turns of a program's loops read and write.

The compiler counts the body of a loop once. What a turn takes in and gives on, parameters and a
cache for instance, is read again in every other turn; what it reads and writes in between is not
seen here, so that the sum is a bound from below.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from jax.extend import core

from adiff_jax.train.flops import inner_jaxprs


def later_turns(program: core.ClosedJaxpr, turns: Sequence[int], rows: int, shards: int) -> float:
    """Bytes of one device; arrays whose first axis holds `rows` examples are split into `shards`.

    `turns` are those of the `while` loops, in order.
    """
    return _bytes(program.jaxpr, list(turns), rows, shards)


def _bytes(jaxpr: Any, turns: list[int], rows: int, shards: int) -> float:
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
                    found += _bytes(inner, turns, rows, shards)
                continue
        once = sum(_size(variable.aval, rows, shards) for variable in body.invars)
        found += once * max(times - 1, 0) + times * _bytes(body, turns, rows, shards)
    return found


def _size(array: Any, rows: int, shards: int) -> float:
    split = bool(array.shape) and array.shape[0] >= rows and array.shape[0] % rows == 0
    return prod(array.shape) * array.dtype.itemsize / (shards if split else 1)
