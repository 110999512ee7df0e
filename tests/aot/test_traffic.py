"""What the later turns of loops read: weights in whole, rows in parts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.aot.traffic import later_turns

ROWS, WIDTH, TURNS, SHARDS = 8, 4, 5, 2
STATE = ROWS * WIDTH * 4  # bytes of what a turn gives on
WEIGHTS = jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32)
BATCH = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)


def counted(function: Any, *given: Any, turns: tuple[int, ...] = ()) -> float:
    kinds = {(BATCH.shape, np.dtype(np.float32))}
    return later_turns(jax.make_jaxpr(function)(*given), turns, ROWS, SHARDS, kinds)


def scanned(weights: jax.Array, rows: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda x, _: (x @ weights, None), rows, length=TURNS)[0]


def test_every_turn_but_the_first_reads_the_weights_in_whole_and_the_rows_of_its_device() -> None:
    turn = WIDTH * WIDTH * 4 + STATE / SHARDS
    assert counted(scanned, WEIGHTS, BATCH) == (TURNS - 1) * turn
    assert counted(jax.jit(scanned), WEIGHTS, BATCH) == (TURNS - 1) * turn


def test_weights_with_as_many_rows_as_the_batch_are_no_batch() -> None:
    tall = jax.ShapeDtypeStruct((ROWS, ROWS), jnp.float32)

    def loop(weights: jax.Array, rows: jax.Array) -> jax.Array:
        body = lambda x, _: ((weights @ x).astype(x.dtype), None)  # noqa: E731
        return jax.lax.scan(body, rows, length=TURNS)[0]

    turn = ROWS * ROWS * 4 + STATE / SHARDS
    assert counted(loop, tall, BATCH) == (TURNS - 1) * turn


@pytest.mark.parametrize("turns", [1, 3])
def test_a_while_loop_turns_as_often_as_is_said(turns: int) -> None:
    def loop(weights: jax.Array, rows: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ weights, rows)

    turn = WIDTH * WIDTH * 4 + STATE / SHARDS
    assert counted(loop, WEIGHTS, BATCH, turns=(turns,)) == (turns - 1) * turn
    assert counted(loop, WEIGHTS, BATCH) == 0  # nobody knows


def test_loops_within_loops_multiply() -> None:
    def outer(weights: jax.Array, rows: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, _: (scanned(weights, x), None), rows, length=3)[0]

    turn = WIDTH * WIDTH * 4 + STATE / SHARDS
    assert counted(outer, WEIGHTS, BATCH) == 2 * turn + 3 * (TURNS - 1) * turn
