"""A cache that grows: every step reads all of it, so it begins small.

A compiled loop has one shape of cache. Here several loops follow one another, each with room for
more tokens than the one before; a loop whose work is already done takes no step.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

State = Any
"""Of a search: a flax dataclass with `step`, the tokens decided so far [] int32, and `cache`."""


@dataclass(frozen=True)
class Rooms:
    """`sizes` are numbers of tokens, ascending; `caches` the shapes of a cache with room for each.

    A larger cache is a smaller one with zeros at the end of some axes.
    """

    sizes: tuple[int, ...]
    caches: tuple[Any, ...]

    def loop(
        self, going: Callable[[State], jax.Array], advance: Callable[[State], State], state: State
    ) -> State:
        """`advance` while `going` and until the last room is used up, from a cache of the first
        room. Rows of the cache may be more than those of its shape (a beam's)."""
        for number, size in enumerate(self.sizes):
            if number:
                state = replace(state, cache=self._grown(state.cache, number))

            def unfinished(state: State, size: int = size) -> jax.Array:
                return (state.step < size) & going(state)

            state = jax.lax.while_loop(unfinished, advance, state)
        return state

    def _grown(self, cache: Any, number: int) -> Any:
        def grow(leaf: jax.Array, small: Any, large: Any) -> jax.Array:
            more = [(0, b - a) for a, b in zip(small.shape, large.shape, strict=True)]
            return jnp.pad(leaf, more)

        return jax.tree.map(grow, cache, self.caches[number - 1], self.caches[number])


def in_turn(rooms: tuple[int, ...], last: int) -> tuple[int, ...]:
    """`rooms` in ascending order as far as they are below `last`, then `last`. Raises ValueError
    for one below 1."""
    if any(room < 1 for room in rooms):
        raise ValueError(f"rooms is {rooms}; each must be 1 or more")
    return (*sorted({room for room in rooms if room < last}), last)
