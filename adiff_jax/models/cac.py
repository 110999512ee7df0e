"""The difference encoder: a transformer over both clips, with the CAC mask as an option.

Takeuchi et al., DCASE 2023 (arXiv 2308.11923), "cross-attention-concentrated" encoder: attention
inside a clip is blocked, the diagonal included, so that a frame only sees the other clip; it keeps
itself through the residual. `mask="none"` is the baseline: full attention.

H0 = [X; Y] along time, [b 2t d]; positions restart per clip and a learned segment vector tells the
clips apart. Without segments or global positions the output is the same when the clips are swapped
(up to order), and "add" cannot be told from "remove".
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from adiff_jax.arrays import Constrain, FrameMask, Frames, unconstrained
from adiff_jax.nn.stack import Stack, run_stack
from adiff_jax.nn.transformer import EncoderLayer, sinusoidal_positions


@dataclass(frozen=True)
class DifferenceEncoder:
    """Sizes default to the `small` preset; the paper-sized one is width 768, feed-forward 512."""

    mask: Literal["cac", "none"] = "cac"
    layers: int = 1
    width: int = 256
    heads: int = 4
    hidden: int = 512  # feed-forward
    dropout: float = 0.1
    positions: Literal["clip", "global"] = "clip"
    segments: bool = True


def cac_mask(clip: Int[Array, "*#b s"], valid: Bool[Array, "*#b s"]) -> Bool[Array, "*b s s"]:
    """allowed(i, j) ⇔ clip(i) ≠ clip(j) and frame j is valid."""
    other = clip[..., :, None] != clip[..., None, :]
    return other & valid[..., None, :]


class DifferenceTransformer(nn.Module):
    """[X; Y] [b s d] with clip index [s] and mask [b s] -> Z [b s d]."""

    config: DifferenceEncoder
    dtype: DTypeLike = jnp.float32
    stack: Stack = Stack()
    constrain: Constrain = unconstrained

    def setup(self) -> None:
        config = self.config
        if config.segments:
            self.segment = self.param(
                "segment", nn.initializers.normal(0.5), (2, config.width), jnp.float32
            )
        self.blocks = [
            EncoderLayer(config.width, config.heads, config.hidden, config.dropout, self.dtype)
            for _ in range(config.layers)
        ]

    def __call__(
        self,
        x: Frames,
        y: Frames,
        x_mask: FrameMask,
        y_mask: FrameMask,
        train: bool = False,
        segments: bool = True,
    ) -> Float[Array, "b s d"]:
        """Frames of both clips at the encoder's width -> Z over [X; Y].

        `segments=False` leaves the segment vectors out: the arm in which SDD must not lean on them.
        """
        config = self.config
        length_x, length_y = x.shape[1], y.shape[1]
        h = jnp.concatenate([x, y], axis=1)
        match config.positions:
            case "clip":
                longest = sinusoidal_positions(max(length_x, length_y), config.width)
                table = jnp.concatenate([longest[:length_x], longest[:length_y]])
            case "global":
                table = jnp.asarray(sinusoidal_positions(length_x + length_y, config.width))
        clip = jnp.repeat(
            jnp.arange(2), jnp.array([length_x, length_y]), total_repeat_length=h.shape[1]
        )
        h = h + table.astype(h.dtype)
        if config.segments and segments:
            h = h + self.segment[clip].astype(h.dtype)
        valid = jnp.concatenate([x_mask, y_mask], axis=1)
        match config.mask:
            case "cac":
                allowed = cac_mask(clip[None], valid)
            case "none":
                allowed = jnp.broadcast_to(valid[:, None, :], (*valid.shape, valid.shape[1]))
        allowed = allowed[:, None]

        def compare(block: EncoderLayer, h: jax.Array) -> jax.Array:
            return block(h, allowed, train)

        return run_stack(self.stack, self.blocks, h, compare, self.constrain)


def split_clips(z: jax.Array, length_x: int) -> tuple[jax.Array, jax.Array]:
    """The two halves of Z along time."""
    return z[:, :length_x], z[:, length_x:]
