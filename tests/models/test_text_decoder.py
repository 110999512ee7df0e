"""The text decoder: it sees the past and the memory, and the same with a cache."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.models.text_decoder import TextDecoder, TextDecoderModule
from tests.models.toys import drawn
from tests.quick import quick_jit

CONFIG = TextDecoder(layers=2, width=8, heads=2, hidden=12, dropout=0.0, start_id=1)
VOCABULARY = 11
MODULE = TextDecoderModule(CONFIG, VOCABULARY)
RNG = np.random.default_rng(0)
MEMORY = jnp.asarray(RNG.standard_normal((2, 4, 8)), jnp.float32)
MASK = jnp.arange(4)[None] < jnp.array([[4], [2]])
TOKENS = jnp.array([[2, 3, 4, 5, 6], [7, 8, 9, 10, 3]], jnp.int32)


INIT = partial(MODULE.init, jax.random.key(0))
VARIABLES = drawn(jax.eval_shape(INIT, MEMORY, MASK, TOKENS))
decode = quick_jit(MODULE.apply)


def test_a_prediction_has_no_gradient_from_its_own_word_nor_from_later_ones() -> None:
    def scores(table: jax.Array) -> jax.Array:
        variables = {"params": {**VARIABLES["params"], "embedding": {"embedding": table}}}
        return MODULE.apply(variables, MEMORY[:1], MASK[:1], TOKENS[:1])[0].sum(axis=-1)

    table = VARIABLES["params"]["embedding"]["embedding"]
    jacobian = np.abs(quick_jit(jax.jacrev(scores))(table)).max(axis=-1)  # [t v]
    for predicted in range(5):
        for read, word in enumerate(TOKENS[0]):
            assert (jacobian[predicted, word] > 0) == (read < predicted)
        assert jacobian[predicted, CONFIG.start_id] > 0
    assert (jacobian[:, 0] == 0).all()  # a word that does not occur


def test_masked_memory_has_no_part_and_unmasked_memory_has() -> None:
    before = decode(VARIABLES, MEMORY, MASK, TOKENS)
    masked = decode(VARIABLES, jnp.where(MASK[..., None], MEMORY, 100.0), MASK, TOKENS)
    np.testing.assert_array_equal(masked, before)
    after = decode(VARIABLES, MEMORY.at[:, 1].add(1.0), MASK, TOKENS)
    assert (np.abs(after - before).max(axis=-1) > 1e-3).all()


def test_a_longer_cache_changes_nothing() -> None:
    def steps(capacity: int) -> jax.Array:
        def run(decoder: TextDecoderModule) -> jax.Array:
            logits, cache = decoder.prefill(MEMORY, MASK, capacity)
            found = [logits]
            for step in range(2):
                logits, cache = decoder.extend(cache, TOKENS[:, step])
                found.append(logits)
            return jnp.stack(found, axis=1)

        return MODULE.apply(VARIABLES, method=run)

    expected = decode(VARIABLES, MEMORY, MASK, TOKENS)
    for got in quick_jit(lambda: (steps(2), steps(5)))():
        np.testing.assert_allclose(got, expected[:, :3], atol=1e-5)


def test_the_first_prediction_follows_the_start_token() -> None:
    other = TextDecoderModule(TextDecoder(**{**CONFIG.__dict__, "start_id": 2}), VOCABULARY)
    moved = quick_jit(other.apply)(VARIABLES, MEMORY, MASK, TOKENS)
    assert np.abs(moved[:, 0] - decode(VARIABLES, MEMORY, MASK, TOKENS)[:, 0]).max() > 1e-3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits_are_float32_and_the_cache_has_the_compute_type(dtype: jnp.dtype) -> None:
    module = TextDecoderModule(CONFIG, VOCABULARY, dtype)
    memory = MEMORY.astype(dtype)
    assert jax.eval_shape(module.apply, VARIABLES, memory, MASK, TOKENS).dtype == jnp.float32

    def start(variables: dict) -> tuple:
        return module.apply(variables, memory, MASK, 5, method="prefill")

    logits, cache = jax.eval_shape(start, VARIABLES)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((cache.past, cache.memory))} == {
        jnp.dtype(dtype)
    }
