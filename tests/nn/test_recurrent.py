"""The LSTM on padded batches, and pooling over valid frames; its gates: tests/parity/test_sdd."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.aot.collectives import collectives
from adiff_jax.nn.recurrent import BiLSTM, _cell, lstm, masked_max, masked_mean
from adiff_jax.parallel.mesh import MeshConfig, batch_sharding, make_mesh
from tests.models.toys import drawn
from tests.quick import quick_jit

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((3, 6, 4)), jnp.float32)
MASK = jnp.arange(6)[None] < jnp.array([[6], [4], [0]])
LSTM = BiLSTM(5)


def fresh() -> dict[str, Any]:
    return drawn(jax.eval_shape(partial(LSTM.init, jax.random.key(0)), X, MASK))


def test_padding_changes_nothing_in_either_direction() -> None:
    apply = quick_jit(partial(LSTM.apply, fresh()))
    padded = apply(X, MASK)
    rubbish = apply(jnp.where(MASK[..., None], X, 100.0), MASK)
    np.testing.assert_array_equal(padded, rubbish)
    assert (np.asarray(padded)[~np.asarray(MASK)] == 0).all()
    alone = apply(X[1:2, :4], MASK[1:2, :4])
    np.testing.assert_allclose(padded[1, :4], alone[0], atol=1e-6)


def test_the_second_half_reads_backwards() -> None:
    variables = fresh()
    params = variables["params"]
    for name in ("input", "hidden", "input_bias", "hidden_bias"):
        params[f"backward_{name}"] = params[f"forward_{name}"]
    everything = jnp.ones_like(MASK)
    apply = quick_jit(partial(LSTM.apply, variables))
    out, back = apply(X, everything), apply(X[:, ::-1], everything)
    np.testing.assert_allclose(out[..., 5:], back[:, ::-1, :5], atol=1e-6)
    assert np.abs(out[..., :5] - out[..., 5:]).max() > 1e-2


@pytest.mark.parametrize("reverse", [pytest.param(False, marks=pytest.mark.slow), True])
def test_gradients_are_those_of_the_loop_written_out(reverse: bool) -> None:
    def written_out(inputs: jax.Array, weights: jax.Array) -> jax.Array:
        state = (jnp.zeros((3, 5)),) * 2
        outputs = []
        frames = range(6)[::-1] if reverse else range(6)
        for frame in frames:
            valid = MASK[:, frame]
            state = _cell(inputs[frame] + state[0] @ weights, state, valid)
            outputs.append(jnp.where(valid[:, None], state[0], 0.0))
        return jnp.stack(outputs[::-1] if reverse else outputs)

    inputs = jnp.asarray(RNG.standard_normal((6, 3, 20)), jnp.float32)
    weights = jnp.asarray(RNG.standard_normal((5, 20)), jnp.float32)
    given = jnp.asarray(RNG.standard_normal((6, 3, 5)), jnp.float32)
    (plain, expected), (ours, got) = (
        (outputs, pull(given))
        for outputs, pull in (
            jax.vjp(written_out, inputs, weights),
            jax.vjp(lambda i, w: lstm(i, MASK.T, w, reverse), inputs, weights),
        )
    )
    np.testing.assert_allclose(ours, plain, atol=1e-6)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_gradients_keep_their_types_and_no_frames_are_no_error() -> None:
    inputs, weights = jnp.ones((0, 3, 20)), jnp.ones((5, 20), jnp.bfloat16)
    by_inputs, by_weights = jax.grad(
        lambda i, w: lstm(i, jnp.ones((0, 3), bool), w, False).sum(), argnums=(0, 1)
    )(inputs, weights)
    assert (by_inputs.shape, by_weights.dtype) == (inputs.shape, jnp.bfloat16)
    assert not by_weights.any()


def test_devices_that_split_the_rows_do_not_talk_at_every_frame() -> None:
    rows = batch_sharding(make_mesh(MeshConfig()))
    inputs, mask = (jnp.zeros((8, 6, 4)), jnp.ones((8, 6), bool))

    def loss(variables: Any, inputs: jax.Array, mask: jax.Array) -> jax.Array:
        return (LSTM.apply(variables, inputs, mask) ** 2).sum()

    placed = (jax.device_put(array, rows) for array in (inputs, mask))
    compiled = jax.jit(jax.grad(loss)).lower(fresh(), *placed).compile()
    found = collectives(compiled.as_text(), 8).found
    assert found and {one.times for one in found} == {1}


def test_pooling_reads_valid_frames_only_and_an_empty_row_is_zero() -> None:
    for pool, plain in ((masked_mean, np.mean), (masked_max, np.max)):
        pooled = pool(X - 5.0, MASK)
        np.testing.assert_allclose(pooled[0], plain(np.asarray(X[0]) - 5.0, axis=0), rtol=1e-6)
        np.testing.assert_allclose(pooled[1], plain(np.asarray(X[1, :4]) - 5.0, axis=0), rtol=1e-6)
        assert (pooled[2] == 0).all()


def test_pooling_an_empty_row_has_no_nan_gradient() -> None:
    for pool in (masked_mean, masked_max):
        gradient = jax.grad(lambda x, pool=pool: (pool(x, MASK) ** 2).sum())(X)
        assert np.isfinite(gradient).all()
        assert (gradient[2] == 0).all() and (gradient[1, 4:] == 0).all()
