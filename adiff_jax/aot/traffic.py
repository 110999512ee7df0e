"""Bytes that the later turns of a program's loops read and write.

The compiler counts the body of a loop once. What a turn takes in and gives on, parameters and a
cache for instance, is read again in every other turn; what it reads and writes in between is not
seen here. Parameters count in whole, as a training gathers them where fsdp splits them.
"""

from collections.abc import Collection, Sequence
from math import prod
from typing import Any

import numpy as np
from jax.extend import core

from adiff_jax.train.flops import inner_jaxprs

Kind = tuple[tuple[int, ...], np.dtype]
"""Shape and dtype."""


def later_turns(
    program: core.ClosedJaxpr,
    turns: Sequence[int],
    rows: int,
    shards: int,
    batch: Collection[Kind],
) -> float:
    """Bytes of one device. Arrays whose first axis holds `rows` examples are split into `shards`,
    if anything of the `batch` went into them: a parameter may have as many rows.

    `turns` are those of the `while` loops, in order; one beyond them has no later turns.
    """
    of_batch = [(given.aval.shape, given.aval.dtype) in batch for given in program.jaxpr.invars]
    return _Count(list(turns), rows, shards).bytes(program.jaxpr, of_batch)[0]


class _Count:
    def __init__(self, turns: list[int], rows: int, shards: int) -> None:
        self._turns, self._rows, self._shards = turns, rows, shards

    def _size(self, array: Any, of_batch: bool) -> float:
        first = array.shape[0] if array.shape else 0
        split = of_batch and first >= self._rows and first % self._rows == 0
        return prod(array.shape) * array.dtype.itemsize / (self._shards if split else 1)

    def bytes(self, jaxpr: Any, of_batch: Sequence[bool]) -> tuple[float, list[bool]]:
        """Those of the loops in `jaxpr`, and which results the batch went into."""
        from_batch = dict(zip(jaxpr.invars, of_batch, strict=True))

        def known(value: Any) -> bool:
            return not isinstance(value, core.Literal) and from_batch.get(value, False)

        found = 0.0
        for equation in jaxpr.eqns:
            given = [known(value) for value in equation.invars]
            more, results = self._equation(equation, given)
            found += more
            from_batch.update(zip(equation.outvars, results, strict=True))
        return found, [known(value) for value in jaxpr.outvars]

    def _equation(self, equation: Any, given: list[bool]) -> tuple[float, list[bool]]:
        params, results = equation.params, [any(given)] * len(equation.outvars)
        match equation.primitive.name:
            case "scan":
                constants = params["num_consts"]
                carried = constants + params["num_carry"]
                carry = [any(given)] * params["num_carry"]
                taken = [*given[:constants], *carry, *given[carried:]]
                return self._loop(params["jaxpr"].jaxpr, taken, params["length"]), results
            case "while":
                first = params["cond_nconsts"]
                constants = first + params["body_nconsts"]
                taken = [*given[first:constants], *[any(given)] * (len(given) - constants)]
                times = self._turns.pop(0) if self._turns else 1
                return self._loop(params["body_jaxpr"].jaxpr, taken, times), results
        found = 0.0
        for inner in inner_jaxprs(params):
            same = len(inner.invars) == len(given)
            more, out = self.bytes(inner, given if same else [any(given)] * len(inner.invars))
            found += more
            results = out if same and len(out) == len(results) else results
        return found, results

    def _loop(self, body: Any, taken: list[bool], times: int) -> float:
        sizes = (self._size(v.aval, batch) for v, batch in zip(body.invars, taken, strict=True))
        within, _ = self.bytes(body, taken)
        return sum(sizes) * max(times - 1, 0) + times * within
