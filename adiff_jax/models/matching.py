"""What the matching loss reads of a captioner (`adiff_jax.matching`): two scores for a sentence."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from adiff_jax.arrays import Batch
from adiff_jax.matching import Matching


@struct.dataclass
class Matched:
    """Scores [b 2] of "does not match" and "matches", before the softmax."""

    own: Any  # [b 2] of the clips with their own sentence
    other: Any  # [b 2] of the negative; None where the batch holds none


def at_last_word(hidden: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b d"]:
    """The state that has read the whole sentence but its end, float32.

    State i has read the words before i, and the last place in `mask` is that of the end.
    """
    last = jnp.where(mask.any(axis=1), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1), 0)
    found = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
    return found.astype(jnp.float32)


def matched(
    config: Matching,
    head: Callable[[jax.Array], jax.Array],
    batch: Batch,
    own: Float[Array, "b t d"],
    read: Callable[[jax.Array, bool], jax.Array],
) -> Matched:
    """The scores of `own`, the hidden states of the batch's sentences, and of its negatives.

    `read(tokens, swap)` gives the hidden states of other tokens [b t], or of the clips in the other
    order. `head` maps states [b d] to scores [b 2].
    """
    scores = head(at_last_word(own, batch.tokens_mask))
    if config.swaps:
        return Matched(scores, head(at_last_word(read(batch.tokens, True), batch.tokens_mask)))
    if batch.negative is None:
        return Matched(scores, None)
    return Matched(scores, head(at_last_word(read(batch.negative, False), batch.negative_mask)))
