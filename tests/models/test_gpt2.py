"""GPT-2: causal, the same with a cache, rows on their own, and the sizes that are published."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.models.gpt2 import (
    GPT2_BASE,
    GPT2_LARGE,
    GPT2_MEDIUM,
    GPT2_SMALL_LM,
    GPT2_XL,
    Gpt2,
    Gpt2Module,
)
from tests.models.toys import drawn
from tests.quick import quick_jit

CONFIG = Gpt2(layers=2, heads=2, width=8, positions=12, vocab_size=11, dropout=0.5)
MODULE = Gpt2Module(CONFIG)
RNG = np.random.default_rng(0)
PREFIX = jnp.asarray(RNG.standard_normal((3, 4, 8)), jnp.float32)
TOKENS = jnp.asarray(RNG.integers(0, 11, (3, 5)), jnp.int32)
VARIABLES = drawn(jax.eval_shape(partial(MODULE.init, jax.random.key(0)), PREFIX))


def whole(module: Gpt2Module, prefix: jax.Array, tokens: jax.Array) -> jax.Array:
    """Logits [b t v] of the token after the prefix and after each of `tokens` but the last."""
    read = jnp.concatenate([prefix, module.embed(tokens)], axis=1)
    return module.logits(module(read)[:, prefix.shape[1] - 1 : -1])


def stepwise(module: Gpt2Module, prefix: jax.Array, tokens: jax.Array, capacity: int) -> jax.Array:
    """The same, one token at a time."""
    logits, cache = module.prefill(prefix, capacity)
    found = [logits]
    for place in range(tokens.shape[1] - 1):
        logits, cache = module.extend(cache, tokens[:, place])
        found.append(logits)
    return jnp.stack(found, axis=1)


def test_a_hidden_state_has_no_gradient_from_later_inputs() -> None:
    def rows(inputs: jax.Array) -> jax.Array:
        return MODULE.apply(VARIABLES, inputs)[0, :, 0]

    jacobian = np.abs(quick_jit(jax.jacrev(rows))(PREFIX[:1]))[:, 0].max(axis=-1)  # [t t]
    np.testing.assert_array_equal(jacobian > 0, np.tril(np.ones((4, 4), bool)))


@pytest.mark.parametrize("capacity", [5, 8])
def test_cached_decoding_predicts_what_teacher_forcing_does(capacity: int) -> None:
    def both(variables: dict) -> tuple[jax.Array, jax.Array]:
        expected = MODULE.apply(variables, PREFIX, TOKENS, method=whole)
        return expected, MODULE.apply(variables, PREFIX, TOKENS, capacity, method=stepwise)

    expected, got = quick_jit(both)(VARIABLES)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_row_alone_is_the_row_among_many() -> None:
    step = quick_jit(lambda p, t: MODULE.apply(VARIABLES, p, t, 5, method=stepwise))
    many = step(PREFIX, TOKENS)
    for row in range(3):
        alone = step(PREFIX[row : row + 1], TOKENS[row : row + 1])
        np.testing.assert_allclose(alone[0], many[row], atol=1e-5)


def test_rows_of_a_cache_may_stand_at_different_positions() -> None:
    """What a beam does, or a row taken over into another batch."""

    def mixed(module: Gpt2Module) -> jax.Array:
        _, early = module.prefill(PREFIX, 5)
        _, late = module.extend(early, TOKENS[:, 0])
        cache = jax.tree.map(lambda a, b: jnp.concatenate([a[:1], b[1:]]), early, late)
        token = jnp.concatenate([TOKENS[:1, 0], TOKENS[1:, 1]])
        return module.extend(cache, token)[0]

    got = quick_jit(lambda: MODULE.apply(VARIABLES, method=mixed))()
    expected = quick_jit(lambda: MODULE.apply(VARIABLES, PREFIX, TOKENS, method=whole))()
    np.testing.assert_allclose(got[0], expected[0, 1], atol=1e-5)
    np.testing.assert_allclose(got[1:], expected[1:, 2], atol=1e-5)


def test_every_leaf_of_the_cache_has_the_batch_first() -> None:
    _, cache = jax.eval_shape(lambda: MODULE.apply(VARIABLES, PREFIX, 5, method="prefill"))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(cache)} == {3}


def test_dropout_acts_in_training_only() -> None:
    run = quick_jit(MODULE.apply, static_argnames="train")
    quiet = run(VARIABLES, PREFIX, train=False)
    np.testing.assert_array_equal(run(VARIABLES, PREFIX), quiet)
    first, second = (
        run(VARIABLES, PREFIX, train=True, rngs={"dropout": jax.random.key(seed)})
        for seed in range(2)
    )
    assert np.abs(first - quiet).max() > 0.1
    assert np.abs(first - second).max() > 0.1


def test_positions_are_not_exceeded() -> None:
    with pytest.raises(ValueError, match=r"4 vectors and room for 9 more exceed.*positions \(12\)"):
        MODULE.apply(VARIABLES, PREFIX, 9, method="prefill")
    with pytest.raises(ValueError, match="13 vectors"):
        MODULE.apply(VARIABLES, jnp.ones((1, 13, 8)))


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 10 is not divisible by heads 4"):
        Gpt2(width=10, heads=4)


def test_in_bfloat16_logits_and_parameters_stay_float32() -> None:
    module = Gpt2Module(CONFIG, jnp.bfloat16)

    def start(variables: dict) -> tuple:
        return module.apply(variables, PREFIX, 5, method="prefill")

    logits, cache = quick_jit(start)(VARIABLES)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((cache.prefix, cache.said))} == {
        jnp.dtype("bfloat16")
    }
    expected = MODULE.apply(VARIABLES, PREFIX, 5, method="prefill")[0]
    np.testing.assert_allclose(logits, expected, atol=0.1)
    shapes = jax.eval_shape(partial(module.init, jax.random.key(0)), PREFIX)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (GPT2_BASE, 124_439_808),
        (GPT2_MEDIUM, 354_823_168),
        (GPT2_LARGE, 774_030_080),
        (GPT2_XL, 1_557_611_200),
        (GPT2_SMALL_LM, 3_552_768),
    ],
)
def test_presets_have_the_published_number_of_parameters(config: Gpt2, parameters: int) -> None:
    prefix = jax.ShapeDtypeStruct((2, 121, config.width), jnp.float32)
    module = Gpt2Module(config)
    shapes = jax.eval_shape(module.init, jax.random.key(0), prefix)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == parameters

    def start(variables: dict, prefix: jax.Array) -> tuple:
        return module.apply(variables, prefix, 280, method="prefill")

    logits, _ = jax.eval_shape(start, shapes, prefix)
    assert logits.shape == (2, config.vocab_size)
