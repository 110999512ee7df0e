"""A bidirectional LSTM that ignores padding, with PyTorch's gates.

Gates in the order i, f, g, o and two bias vectors, as `torch.nn.LSTM` has them, so that its weights
carry over. Padded steps leave the state untouched: the backward direction starts at the last valid
frame, exactly as on a packed sequence.
"""

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

        def step(
            state: tuple[jax.Array, jax.Array], at: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            hidden, cell = state
            gates, valid = at
            i, f, g, o = jnp.split(gates + hidden @ w_hidden, 4, axis=-1)
            new_cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            new_hidden = nn.sigmoid(o) * jnp.tanh(new_cell)
            keep = valid[:, None]
            state = (jnp.where(keep, new_hidden, hidden), jnp.where(keep, new_cell, cell))
            return state, jnp.where(keep, new_hidden, 0.0)

        zeros = jnp.zeros((x.shape[0], self.hidden), inputs.dtype)
        time_major = (jnp.swapaxes(inputs, 0, 1), jnp.swapaxes(mask, 0, 1))
        _, outputs = jax.lax.scan(step, (zeros, zeros), time_major, reverse=reverse)
        return jnp.swapaxes(outputs, 0, 1)


def masked_mean(x: Float[Array, "b f d"], mask: Bool[Array, "b f"]) -> Float[Array, "b d"]:
    """Mean over the valid frames; zero for a row without any."""
    weight = mask.astype(x.dtype)[:, :, None]
    return (x * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1.0)


def masked_max(x: Float[Array, "b f d"], mask: Bool[Array, "b f"]) -> Float[Array, "b d"]:
    """Maximum over the valid frames; zero for a row without any."""
    lowest = jnp.finfo(x.dtype).min
    top = jnp.where(mask[:, :, None], x, lowest).max(axis=1)
    return jnp.where(mask.any(axis=1)[:, None], top, 0.0)
