"""Layers in a loop, and layers computed again: the same numbers, less to keep, less to compile."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from adiff_jax.arrays import unconstrained
from adiff_jax.models.cac import DifferenceEncoder, DifferenceTransformer
from adiff_jax.models.gpt2 import Gpt2, Gpt2Module
from adiff_jax.models.prefix import PrefixTransformer
from adiff_jax.models.text_decoder import TextDecoder, TextDecoderModule
from adiff_jax.nn.stack import Stack, run_stack
from tests.models.toys import drawn
from tests.quick import quick_jit

LAYERS = 4
X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 8)), jnp.float32)
MASK = jnp.arange(5)[None] < jnp.array([[5], [3]])
TOKENS = jnp.array([[3, 4, 5], [5, 6, 2]])
SAVING = [Stack(scan=True), Stack(remat=True), Stack(scan=True, remat=True)]


def gpt2(stack: Stack, layers: int = LAYERS) -> tuple[nn.Module, Callable[..., jax.Array]]:
    config = Gpt2(layers=layers, heads=2, width=8, positions=12, vocab_size=11, dropout=0.5)
    return Gpt2Module(config, stack=stack), lambda module, train: module(X, train)


def prefix(stack: Stack, layers: int = LAYERS) -> tuple[nn.Module, Callable[..., jax.Array]]:
    return PrefixTransformer(layers, 2, 2, stack=stack), lambda module, train: module(X, MASK)


def comparison(stack: Stack, layers: int = LAYERS) -> tuple[nn.Module, Callable[..., jax.Array]]:
    config = DifferenceEncoder(layers=layers, width=8, heads=2, hidden=12)
    module = DifferenceTransformer(config, stack=stack)
    return module, lambda module, train: module(X, X[::-1], MASK, MASK[::-1], train)


def decoder(stack: Stack, layers: int = LAYERS) -> tuple[nn.Module, Callable[..., jax.Array]]:
    config = TextDecoder(layers=layers, width=8, heads=2, hidden=12)
    module = TextDecoderModule(config, 9, stack=stack)
    return module, lambda module, train: module(X, MASK, TOKENS, train)


KINDS = {f.__name__: f for f in (gpt2, prefix, comparison, decoder)}


@cache
def variables(kind: str) -> Any:
    module, call = KINDS[kind](Stack())
    init = partial(module.init, method=partial(call, train=False))
    return drawn(jax.eval_shape(init, jax.random.key(0)))


def loss(kind: str, stack: Stack, given: Any, train: bool = False) -> jax.Array:
    module, call = KINDS[kind](stack)
    rngs = {"dropout": jax.random.key(1)}
    return (module.apply(given, method=partial(call, train=train), rngs=rngs) ** 2).sum()


@cache
def plain(kind: str) -> Any:
    return quick_jit(jax.value_and_grad(partial(loss, kind, Stack())))(variables(kind))


@pytest.mark.parametrize(
    ("kind", "stack"),
    [
        *(pytest.param("gpt2", stack, marks=pytest.mark.slow) for stack in SAVING[:-1]),
        *((kind, SAVING[-1]) for kind in KINDS),
    ],
    ids=str,
)
def test_no_loss_and_no_gradient_changes(kind: str, stack: Stack) -> None:
    expected, gradients = plain(kind)
    got, again = quick_jit(jax.value_and_grad(partial(loss, kind, stack)))(variables(kind))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), again, gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_have_their_place_whatever_runs_them(kind: str) -> None:
    for stack in SAVING:
        module, call = KINDS[kind](stack)
        init = partial(module.init, method=partial(call, train=False))
        shapes = jax.eval_shape(init, jax.random.key(0))
        assert jax.tree.structure(shapes) == jax.tree.structure(variables(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_remat_keeps_less_for_the_backward_pass(kind: str) -> None:
    def kept(stack: Stack) -> int:
        function = partial(loss, kind, stack)
        backward = jax.eval_shape(lambda given: jax.vjp(function, given)[1], variables(kind))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))

    assert kept(Stack(remat=True)) < 0.8 * kept(Stack())
    assert kept(Stack(scan=True, remat=True)) < 0.8 * kept(Stack(scan=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_scanned_program_has_one_layer_however_many_there_are(kind: str) -> None:
    def products(stack: Stack, layers: int) -> int:
        module, call = KINDS[kind](stack, layers)
        method = partial(call, train=False)
        shapes = jax.eval_shape(partial(module.init, method=method), jax.random.key(0))
        text = str(jax.make_jaxpr(partial(module.apply, method=method))(shapes))
        return text.count("dot_general[")

    assert products(Stack(scan=True), 7) == products(Stack(scan=True), 3)
    assert products(Stack(), 7) > products(Stack(), 3)


class Dropping(nn.Module):
    """Adds what dropout leaves of a number."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        number = self.param("number", nn.initializers.ones, ())
        return x + nn.Dropout(0.5, deterministic=False)(number * jnp.ones_like(x))


class Layers(nn.Module):
    stack: Stack

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layers = [Dropping() for _ in range(3)]
        return run_stack(self.stack, layers, x, lambda layer, x: layer(x), unconstrained)


@pytest.mark.parametrize("remat", [False, True])
def test_scanned_layers_draw_dropout_each_for_itself_and_again_the_same(remat: bool) -> None:
    module = Layers(Stack(scan=True, remat=remat))
    zeros, keys = jnp.zeros(64), [jax.random.key(seed) for seed in (1, 1, 2)]
    given = module.init({"params": keys[0], "dropout": keys[0]}, zeros)
    one, again, other = (module.apply(given, zeros, rngs={"dropout": key}) for key in keys)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert len(np.unique(one)) == 4  # kept by none, one, two and all of the layers


def test_no_layers_change_nothing() -> None:
    module = PrefixTransformer(0, 2, 2, stack=Stack(scan=True))
    np.testing.assert_array_equal(module.apply({}, X, MASK), X)


def test_what_layers_sow_is_there_when_it_is_asked_for() -> None:
    module, call = comparison(Stack(scan=True))
    _, state = module.apply(
        variables("comparison"), method=partial(call, train=False), mutable=["intermediates"]
    )
    assert len(state["intermediates"]) == LAYERS
