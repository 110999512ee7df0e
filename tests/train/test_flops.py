"""Operations counted by hand: what compilers count where they can, and loops as they run."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from adiff_jax.aot.programs import decode_step
from adiff_jax.decode.rooms import in_turn
from adiff_jax.experiment import Experiment
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.train.flops import count
from tests.top.tiny_run import adc, cl4ac

SQUARE = jnp.zeros((8, 8))
VARIABLES = {"params": "parameters", "batch_stats": "other state"}
ONE = 2 * 8**3  # operations of a product of two squares


def flops(function: Any, *arguments: Any, turns: tuple[int, ...] = ()) -> float:
    return count(jax.jit(function).trace(*arguments).jaxpr, turns).count


def compiler(function: Any, *arguments: Any) -> float:
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_a_convolution_counts_as_the_compiler_counts_it(
    stride: tuple[int, int], padding: str
) -> None:
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=numbers)

    x, kernel = jnp.ones((2, 9, 8, 3)), jnp.ones((3, 3, 3, 5))
    assert flops(convolve, x, kernel) == compiler(convolve, x, kernel)
    out, backward = jax.vjp(convolve, x, kernel)
    assert flops(backward, out) == compiler(backward, out)


def test_a_product_counts_as_the_compiler_counts_it() -> None:
    product = partial(jnp.einsum, "bthk,bshk->bhts")
    given = jnp.ones((2, 5, 3, 4)), jnp.ones((2, 7, 3, 4))
    assert flops(product, *given) == compiler(product, *given) == 2 * 2 * 3 * 5 * 7 * 4


def test_the_body_of_a_scan_counts_as_often_as_it_runs() -> None:
    def scanned(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda y, _: (y @ x, None), x, length=10)[0]

    assert flops(scanned, SQUARE) == 10 * ONE
    assert compiler(scanned, SQUARE) < 2 * ONE


def test_loops_take_the_turns_that_they_are_given_in_order() -> None:
    def looped(x: jax.Array) -> jax.Array:
        x = jax.lax.while_loop(lambda y: y[0, 0] < 1, lambda y: y @ y, x)
        return jax.lax.while_loop(lambda y: y[0, 0] < 2, lambda y: y @ y @ y, x)

    assert flops(looped, SQUARE, turns=(3, 5)) == (3 + 2 * 5) * ONE
    with pytest.raises(ValueError, match="without its number of turns"):
        flops(looped, SQUARE, turns=(3,))
    with pytest.raises(ValueError, match="1 more than there are"):
        flops(looped, SQUARE, turns=(3, 5, 7))


def test_a_loop_of_unknown_length_without_products_is_no_matter() -> None:
    def counting(x: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda i: i < 3, lambda i: i + 1, 0) + x @ x

    assert flops(counting, SQUARE) == ONE


def test_what_remat_computes_again_counts_again() -> None:
    def layer(x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ x) @ x

    def loss(function: Any, x: jax.Array) -> jax.Array:
        return function(x).sum()

    kept = flops(jax.value_and_grad(partial(loss, layer)), SQUARE)
    again = flops(jax.value_and_grad(partial(loss, jax.checkpoint(layer))), SQUARE)
    assert kept == 6 * ONE
    assert again == 7 * ONE  # the product below tanh; the other one's result is not needed


def test_what_no_result_needs_is_not_counted() -> None:
    def shape_only(x: jax.Array) -> jax.Array:
        return jnp.zeros((x @ x).shape)

    assert flops(shape_only, SQUARE) == 0


def test_of_branches_the_costliest_counts() -> None:
    def either(x: jax.Array, first: jax.Array) -> jax.Array:
        return jax.lax.cond(first, lambda y: y @ y, lambda y: y @ y @ y, x)

    assert flops(either, SQUARE, jnp.bool_(True)) == 2 * ONE


@pytest.mark.parametrize(
    ("precision", "kind", "passes"),
    [("highest", "float32", 6), ("high", "float32", 3), (None, "float32", 1)]
    + [("highest", "bfloat16", 1)],
)
def test_precision_costs_passes(precision: str | None, kind: str, passes: int) -> None:
    x = SQUARE.astype(kind)
    product = partial(jnp.matmul, precision=precision)
    found = count(jax.jit(product).trace(x, x).jaxpr)
    assert (found.count, found.passes) == (ONE, passes * ONE)


@pytest.mark.parametrize(
    ("make", "rooms"),
    [(partial(adc, "unused"), ()), (partial(adc, "unused"), (4,)), (cl4ac, ())],
    ids=["adc", "adc, two rooms", "cl4ac"],
)
def test_decoding_counts_its_prefill_and_a_step_for_every_further_token(
    make: Any, rooms: tuple[int, ...]
) -> None:
    experiment: Experiment = make()
    buckets = (*rooms, 8) if rooms else ()
    encode = replace(experiment.data.encode, max_tokens=8, buckets=buckets)
    experiment = replace(experiment, data=replace(experiment.data, encode=encode))
    mesh = make_mesh(MeshConfig())
    objective: Any = experiment.objective()
    model = objective.module
    program = decode_step(experiment, mesh)
    assert program is not None
    variables: Any = {name: program.given[kind] for name, kind in VARIABLES.items()}

    def once(method: str, *arguments: Any) -> float:
        return flops(partial(model.apply, method=method), variables, *arguments)

    batch = program.given["batch"]
    sizes = in_turn(buckets, encode.max_tokens)
    prefill = partial(model.apply, method="prefill", capacity=sizes[0])
    heard = jax.eval_shape(partial(model.apply, method="encode"), variables, batch)
    expected = once("encode", batch) + flops(prefill, variables, heard)
    for before, after in zip((1, *sizes), sizes, strict=False):
        room = partial(model.apply, method="prefill", capacity=after)
        cache = jax.eval_shape(room, variables, heard)[1]
        token = jax.ShapeDtypeStruct((program.rows,), jnp.int32)
        expected += (after - before) * once("extend", cache, token)
    found = count(program.traced.jaxpr, program.turns).count
    assert found == pytest.approx(expected, rel=1e-6)
