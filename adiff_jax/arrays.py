"""Axis letters, array aliases and the two containers that pass between rooms.

Axis letters, used in every jaxtyping annotation and einsum of the package:

    b batch      n samples     f frames        m mel bands     c channels or classes
    t text       s source      h heads         k head dim      d model width
    v vocabulary

`Batch` is what a model reads, `Output` what teacher forcing returns. Their fields are annotated
`Any` with a shape comment because JAX also stores abstract shapes, shardings and `None` in them.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct
from jaxtyping import Array, Bool, Float, Int

Waves = Float[Array, "b n"]
Features = Float[Array, "b f m c"]
Frames = Float[Array, "b f d"]
FrameMask = Bool[Array, "b f"]
Lengths = Int[Array, " b"]
Tokens = Int[Array, "b t"]
TokenMask = Bool[Array, "b t"]
Logits = Float[Array, "b t v"]
NextLogits = Float[Array, "b v"]
Scalar = Float[Array, ""]

Term = tuple[Any, Any]
"""A loss or metric as (sum, weight): terms add over micro-batches and devices, then divide."""

Constrain = Callable[[jax.Array, tuple[str | None, ...]], jax.Array]
"""Places an activation, given the logical name of each axis; the identity without a mesh."""


def unconstrained(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
    """The default `Constrain`: leave placement to the compiler."""
    del axes
    return x


@struct.dataclass
class Batch:
    """A batch of clips or pairs as the models see it; leaves that a task does not use are None.

    `audio_2` is None for single clips. `features_*` replace `audio_*` when the encoder's output
    was cached. Masks are carried, never derived from ids. Rows with `valid` False are padding.
    """

    valid: Any  # [b] bool
    example_id: Any  # [b] int32, joined to names on the host
    audio_1: Any = None  # [b n] float32
    audio_2: Any = None  # [b n] float32
    length_1: Any = None  # [b] int32, valid samples of audio_1 (frames, with cached features)
    length_2: Any = None  # [b] int32
    features_1: Any = None  # [b f d] cached encoder output
    features_2: Any = None  # [b f d]
    prompt: Any = None  # [b p] int32, what is asked of a model that reads a prompt
    prompt_mask: Any = None  # [b p] bool
    tokens: Any = None  # [b t] int32, targets only, end token included
    tokens_mask: Any = None  # [b t] bool
    labels: Any = None  # [b c] float32, tagging targets
    scene_id: Any = None  # [b] int32, equal for pairs with the same scene content
    changed: Any = None  # [b] bool, False for "none" pairs
    content_id: Any = None  # [b] int32, equal where the same is to be said
    source_id: Any = None  # [b] int32, equal for examples of the same clips
    text_id: Any = None  # [b] int32, equal for examples with the same references
    question_id: Any = None  # [b] int32, equal for examples that are asked the same
    negative: Any = None  # [b t] int32, a sentence for the matching loss, as `tokens`
    negative_mask: Any = None  # [b t] bool
    negative_true: Any = None  # [b] bool, the negative is true of its row, or there is none


@struct.dataclass
class Output:
    """Teacher-forced output. `logits[:, i]` predicts `tokens[:, i]`."""

    logits: Any  # [b t v] float32
    aux: dict[str, Any] = struct.field(default_factory=dict)  # what the extra losses read
