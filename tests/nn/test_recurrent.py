"""The LSTM on padded batches, and pooling over valid frames; its gates: tests/parity/test_sdd."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.nn.recurrent import BiLSTM, masked_max, masked_mean
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
