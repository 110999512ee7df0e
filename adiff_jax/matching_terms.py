"""The matching loss on a batch: negatives from the batch itself, terms, and what they are worth.

What the loss asks, and of which negatives, is said in `adiff_jax.matching`.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from adiff_jax import losses
from adiff_jax.arrays import Batch, Term
from adiff_jax.matching import EpochCaption, InBatch, Matching
from adiff_jax.models.matching import Matched

ROLLED = 2
"""Rows by which clips are moved to see what sentences are worth alone. Not one: made pairs and
their neighbours may take turns."""


def with_negatives(config: Matching, batch: Batch, key: jax.Array) -> Batch:
    """The batch with the negatives that are drawn from it, where the config says so.

    Every row is given the sentence of another valid one that is asked the same, uniformly; a row
    that has none keeps its own, which is true.
    """
    if not isinstance(config.negative, InBatch):
        return batch
    rows = batch.valid.shape[0]
    other = ~jnp.eye(rows, dtype=bool) & batch.valid[None, :]
    other &= batch.question_id[:, None] == batch.question_id[None, :]
    noise = jax.random.uniform(key, (rows, rows))
    chosen = jnp.where(other, noise, -1.0).argmax(axis=1)
    chosen = jnp.where(other.any(axis=1), chosen, jnp.arange(rows))
    return replace(
        batch,
        negative=batch.tokens[chosen],
        negative_mask=batch.tokens_mask[chosen],
        negative_true=~_told_apart(batch, chosen),
    )


def _told_apart(batch: Batch, chosen: Int[Array, " b"]) -> Bool[Array, " b"]:
    """Whether the sentence of row `chosen` is of something else, as far as is known: other edits
    (or sounds), other clips, other references, and other words."""
    ids = (batch.content_id, batch.source_id, batch.text_id)
    apart = jnp.stack([one != one[chosen] for one in ids]).all(axis=0)
    words = _words(batch.tokens, batch.tokens_mask)
    return apart & (words != words[chosen]).any(axis=1)


def _words(tokens: Int[Array, "b t"], mask: Bool[Array, "b t"]) -> Int[Array, "b t"]:
    """Sentences that can be compared: padding differs from every token."""
    return jnp.where(mask, tokens, -1)


def counted_rows(config: Matching, batch: Batch, matched: Matched) -> Bool[Array, " b"]:
    """Rows whose negative is one; all valid ones in the published code's way."""
    if matched.other is None:
        return jnp.zeros_like(batch.valid)
    if isinstance(config.negative, EpochCaption):
        return batch.valid
    return batch.valid & ~batch.negative_true


def matching_terms(
    config: Matching, matched: Matched, batch: Batch
) -> tuple[dict[str, Term], dict[str, Term]]:
    """The term `matching`, and the measures `matching_accuracy` and `false_negatives`: the share of
    rows whose negative is known to be true, or that have none. A batch without negatives counts
    nothing."""
    counted = counted_rows(config, batch, matched)
    both = (matched.own, matched.own if matched.other is None else matched.other)
    drawn = batch.valid & (matched.other is not None)
    true = drawn if batch.negative_true is None else drawn & batch.negative_true
    return {"matching": losses.matching(*both, counted)}, {
        "matching_accuracy": losses.matching_accuracy(*both, counted),
        "false_negatives": (
            true.astype(jnp.float32).sum(),
            drawn.astype(jnp.float32).sum(),
        ),
    }


def other_clips(batch: Batch) -> tuple[Batch, Bool[Array, " b"]]:
    """The batch with the clips of other rows under its sentences, and the rows of which neither
    sentence is known to be true of those clips."""
    rows = batch.valid.shape[0]
    given = (jnp.arange(rows) - min(ROLLED, rows - 1)) % rows
    names = ("audio_1", "audio_2", "features_1", "features_2", "length_1", "length_2")
    clips = {name: getattr(batch, name) for name in names}
    moved = {name: None if leaf is None else leaf[given] for name, leaf in clips.items()}
    counted = batch.valid & batch.valid[given] & _told_apart(batch, given)
    if batch.negative is not None:
        said = _words(batch.tokens, batch.tokens_mask)[given]
        counted &= (said != _words(batch.negative, batch.negative_mask)).any(axis=1)
    return replace(batch, **moved), counted


def caption_only(config: Matching, matched: Matched, batch: Batch) -> dict[str, Term]:
    """`matching_caption_only`: how often the own sentence is held for likelier than the negative
    under the clips of other rows, `matched` being of the batch that `other_clips` gave.

    A half where the sentences tell nothing, up to 1 where they give themselves away. The answers
    themselves would not show it: a model that hears says no to either.
    """
    if matched.other is None:
        return {}
    weight = counted_rows(config, batch, matched).astype(jnp.float32)
    own, other = (scores[:, 1] - scores[:, 0] for scores in (matched.own, matched.other))
    right = (own > other) + 0.5 * (own == other)
    return {"matching_caption_only": ((right * weight).sum(), weight.sum())}
