"""A bidirectional LSTM that ignores padding, with PyTorch's gates.

Gates in the order i, f, g, o and two bias vectors, as `torch.nn.LSTM` has them, so that its weights
carry over. Padded steps leave the state untouched: the backward direction starts at the last valid
frame, exactly as on a packed sequence.

The gradient of the recurrent weights is one product over all frames, after the loop. Left to
differentiation it is summed within the loop, and where rows are split over devices, over all of
them at every frame.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float


class BiLSTM(nn.Module):
    """x [b f d], mask [b f] -> [b f 2·hidden]: forward half first. Zero at padded frames."""

    hidden: int

    @nn.compact
    def __call__(self, x: Float[Array, "b f d"], mask: Bool[Array, "b f"]) -> Float[Array, "b f e"]:
        forward = self._direction(x, mask, "forward", reverse=False)
        backward = self._direction(x, mask, "backward", reverse=True)
        return jnp.concatenate([forward, backward], axis=-1)

    def _direction(
        self, x: jax.Array, mask: jax.Array, name: str, reverse: bool
    ) -> Float[Array, "b f e"]:
        bound = self.hidden**-0.5
        init = nn.initializers.uniform(2 * bound)

        def centred(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return init(key, shape) - bound

        size = 4 * self.hidden
        w_input = self.param(f"{name}_input", centred, (x.shape[-1], size))
        w_hidden = self.param(f"{name}_hidden", centred, (self.hidden, size))
        b_input = self.param(f"{name}_input_bias", centred, (size,))
        b_hidden = self.param(f"{name}_hidden_bias", centred, (size,))
        inputs = x @ w_input.astype(x.dtype) + b_input + b_hidden
        outputs = lstm(jnp.swapaxes(inputs, 0, 1), jnp.swapaxes(mask, 0, 1), w_hidden, reverse)
        return jnp.swapaxes(outputs, 0, 1)


State = tuple[Float[Array, "*f b h"], Float[Array, "*f b h"]]
"""Hidden state and cell."""


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def lstm(
    inputs: Float[Array, "f b g"],
    valid: Bool[Array, "f b"],
    w_hidden: Float[Array, "h g"],
    reverse: bool,
) -> Float[Array, "f b h"]:
    """Outputs for what the input adds to the gates, g = 4 h; zero where not `valid`."""
    return _lstm_forward(inputs, valid, w_hidden, reverse)[0]


def _cell(gates: Float[Array, "b g"], state: State, valid: Bool[Array, " b"]) -> State:
    hidden, cell = state
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    new_cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
    new_hidden = nn.sigmoid(o) * jnp.tanh(new_cell)
    keep = valid[:, None]
    return jnp.where(keep, new_hidden, hidden), jnp.where(keep, new_cell, cell)


Residuals = tuple[jax.Array, State, jax.Array, jax.Array]
"""Gates and the states before them, of every frame; `valid`; recurrent weights."""


def _lstm_forward(
    inputs: jax.Array, valid: jax.Array, w_hidden: jax.Array, reverse: bool
) -> tuple[jax.Array, Residuals]:
    def step(
        state: State, at: tuple[jax.Array, jax.Array]
    ) -> tuple[State, tuple[jax.Array, jax.Array, State]]:
        given, kept = at
        gates = given + state[0] @ w_hidden
        after = _cell(gates, state, kept)
        return after, (jnp.where(kept[:, None], after[0], 0.0), gates, state)

    zeros = jnp.zeros((inputs.shape[1], w_hidden.shape[0]), inputs.dtype)
    _, (outputs, gates, states) = jax.lax.scan(
        step, (zeros, zeros), (inputs, valid), reverse=reverse
    )
    return outputs, (gates, states, valid, w_hidden)


def _lstm_backward(
    reverse: bool, residuals: Residuals, outputs: jax.Array
) -> tuple[jax.Array, None, jax.Array]:
    """Gradients of `inputs`, `valid` and `w_hidden` from those of the outputs."""
    gates, states, valid, w_hidden = residuals

    def step(
        after: State, at: tuple[jax.Array, jax.Array, State, jax.Array]
    ) -> tuple[State, jax.Array]:
        output, given, before, kept = at
        hidden = after[0] + jnp.where(kept[:, None], output, 0.0)
        _, pull = jax.vjp(lambda gates, state: _cell(gates, state, kept), given, before)
        gates, (by_state, cell) = pull((hidden, after[1]))
        return (by_state + gates @ w_hidden.T, cell), gates

    zeros = jnp.zeros(states[0].shape[1:], states[0].dtype)
    _, by_gates = jax.lax.scan(
        step, (zeros, zeros), (outputs, gates, states, valid), reverse=not reverse
    )
    by_weights = jnp.einsum("fbh,fbg->hg", states[0], by_gates)
    return by_gates, None, by_weights.astype(w_hidden.dtype)


lstm.defvjp(_lstm_forward, _lstm_backward)


def masked_mean(x: Float[Array, "b f d"], mask: Bool[Array, "b f"]) -> Float[Array, "b d"]:
    """Mean over the valid frames; zero for a row without any."""
    weight = mask.astype(x.dtype)[:, :, None]
    return (x * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1.0)


def masked_max(x: Float[Array, "b f d"], mask: Bool[Array, "b f"]) -> Float[Array, "b d"]:
    """Maximum over the valid frames; zero for a row without any."""
    lowest = jnp.finfo(x.dtype).min
    top = jnp.where(mask[:, :, None], x, lowest).max(axis=1)
    return jnp.where(mask.any(axis=1)[:, None], top, 0.0)
