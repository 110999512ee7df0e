"""Positions, causality and the step-by-step form of the layers; values: tests/parity/test_cac."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from adiff_jax.nn.attention import KeysValues
from adiff_jax.nn.transformer import DecoderLayer, sinusoidal_positions
from tests.quick import quick_jit

WIDTH, HEADS, HIDDEN = 8, 2, 12
LAYER = DecoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.0)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((2, 5, WIDTH)), jnp.float32)
MEMORY = jnp.asarray(RNG.standard_normal((2, 4, WIDTH)), jnp.float32)
MEMORY_MASK = jnp.arange(4)[None] < jnp.array([[4], [2]])


def both_forms(
    x: jax.Array, memory: jax.Array, memory_mask: jax.Array, layer: DecoderLayer
) -> jax.Array:
    return layer(x, layer.remember(memory), memory_mask)


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    def init(layer: DecoderLayer) -> jax.Array:
        return both_forms(X, MEMORY, MEMORY_MASK, layer)

    shapes = jax.eval_shape(lambda: LAYER.init(jax.random.key(0), method=init))
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * RNG.standard_normal(leaf.shape), jnp.float32), shapes
    )


def forward(variables: dict, x: jax.Array) -> jax.Array:
    def run(layer: DecoderLayer) -> jax.Array:
        return both_forms(x, MEMORY, MEMORY_MASK, layer)

    return LAYER.apply(variables, method=run)


def test_positions_interleave_sine_and_cosine() -> None:
    table = sinusoidal_positions(4, 6)
    for position, pair in np.ndindex(4, 3):
        angle = position / 10000 ** (2 * pair / 6)
        expected = [np.sin(angle), np.cos(angle)]
        np.testing.assert_allclose(table[position, 2 * pair : 2 * pair + 2], expected, atol=1e-6)
    odd = sinusoidal_positions(4, 5)
    np.testing.assert_allclose(odd[1], [np.sin(1), np.cos(1), *odd[1, 2:]], atol=1e-6)


def test_a_position_has_no_gradient_from_later_ones(variables: dict) -> None:
    jacobian = quick_jit(jax.jacrev(lambda x: forward(variables, x).sum(axis=-1)))(X)
    for row, output, read in np.ndindex(2, 5, 5):
        size = np.abs(jacobian[row, output, row, read]).max()
        assert size == 0 if read > output else size > 0
    assert (jacobian[0, :, 1] == 0).all()


def test_one_step_at_a_time_equals_all_at_once(variables: dict) -> None:
    def stepwise(layer: DecoderLayer) -> jax.Array:
        shape = (2, 6, HEADS, WIDTH // HEADS)  # room for one more than is used
        past = KeysValues(jnp.zeros(shape), jnp.zeros(shape))
        memory, steps = layer.remember(MEMORY), []
        for position in range(5):
            here = jnp.full((2,), position)
            step, past = layer.step(X[:, position : position + 1], past, here, memory, MEMORY_MASK)
            steps.append(step)
        return jnp.concatenate(steps, axis=1)

    got = quick_jit(lambda v: LAYER.apply(v, method=stepwise))(variables)
    np.testing.assert_allclose(got, quick_jit(forward)(variables, X), atol=1e-5)


def test_rows_of_a_cache_may_be_at_different_positions(variables: dict) -> None:
    def at(positions: jax.Array) -> tuple[jax.Array, KeysValues]:
        def step(layer: DecoderLayer) -> tuple[jax.Array, KeysValues]:
            shape = (2, 4, HEADS, WIDTH // HEADS)
            past = KeysValues(jnp.ones(shape), jnp.ones(shape))
            return layer.step(X[:, :1], past, positions, layer.remember(MEMORY), MEMORY_MASK)

        return LAYER.apply(variables, method=step)

    mixed, past = quick_jit(at)(jnp.array([0, 2]))
    for row, position in ((0, 0), (1, 2)):
        same, _ = quick_jit(at)(jnp.array([position, position]))
        np.testing.assert_allclose(mixed[row], same[row], atol=1e-6)
        untouched = np.delete(np.asarray(past.keys[row]), position, axis=0)
        assert (untouched == 1).all() and (past.keys[row, position] != 1).all()


def test_the_decoder_layer_is_pytorchs(variables: dict) -> None:
    """The same weights in torch's own post-norm decoder layer."""
    theirs = torch.nn.TransformerDecoderLayer(
        WIDTH, HEADS, HIDDEN, dropout=0.0, batch_first=True, dtype=torch.float64
    )
    params = jax.tree.map(np.asarray, variables["params"])
    state = {}
    for ours, name in (("self_attention", "self_attn"), ("cross_attention", "multihead_attn")):
        parts = [params[ours][part] for part in ("query", "key", "value")]
        kernels = [part["kernel"].reshape(WIDTH, WIDTH).T for part in parts]
        state[f"{name}.in_proj_weight"] = np.concatenate(kernels)
        state[f"{name}.in_proj_bias"] = np.concatenate([part["bias"].ravel() for part in parts])
        state[f"{name}.out_proj.weight"] = params[ours]["out"]["kernel"].reshape(WIDTH, WIDTH).T
        state[f"{name}.out_proj.bias"] = params[ours]["out"]["bias"]
    for ours, name in (("expand", "linear1"), ("contract", "linear2")):
        state[f"{name}.weight"] = params["feed_forward"][ours]["kernel"].T
        state[f"{name}.bias"] = params["feed_forward"][ours]["bias"]
    for k in (1, 2, 3):
        state[f"norm{k}.weight"] = params[f"norm_{k}"]["scale"]
        state[f"norm{k}.bias"] = params[f"norm_{k}"]["bias"]
    theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    with torch.no_grad():
        expected = theirs(
            torch.tensor(np.asarray(X, np.float64)),
            torch.tensor(np.asarray(MEMORY, np.float64)),
            tgt_mask=torch.nn.Transformer.generate_square_subsequent_mask(5).bool(),
            memory_key_padding_mask=torch.tensor(~np.asarray(MEMORY_MASK)),
        )
    np.testing.assert_allclose(quick_jit(forward)(variables, X), expected, atol=1e-5)
