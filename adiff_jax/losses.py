"""Loss terms, each returned as (sum, weight) in float32 so that terms add up before they divide.

The mean of a term over any split of the rows is sum(sums) / sum(weights). Terms that compare rows
with one another (`sym_info_nce`) are over the whole batch they are given; under `jit` on a sharded
batch that is the global batch.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from adiff_jax.arrays import Logits, Term, TokenMask, Tokens

Embeddings = Float[Array, "b d"]
RowMask = Bool[Array, " b"]


def token_cross_entropy(
    logits: Logits, tokens: Tokens, mask: TokenMask, smoothing: float = 0.0
) -> Term:
    """Cross-entropy over the tokens where `mask` is True, with label smoothing."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    target = jnp.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]
    loss = -(1.0 - smoothing) * target - smoothing * log_probs.mean(axis=-1)
    weight = mask.astype(jnp.float32)
    return (loss * weight).sum(), weight.sum()


def token_accuracy(logits: Logits, tokens: Tokens, mask: TokenMask) -> Term:
    """Share of target tokens that the argmax predicts."""
    right = (logits.argmax(axis=-1) == tokens) & mask
    return right.astype(jnp.float32).sum(), mask.astype(jnp.float32).sum()


def _unit(x: Embeddings) -> Embeddings:
    norm = jnp.sqrt(jnp.maximum((x * x).sum(axis=-1, keepdims=True), 1e-24))
    return x / norm


def similarity_matrix(
    x: Embeddings, y: Embeddings, temperature: Float[Array, ""] | float
) -> Float[Array, "b b"]:
    """Cosine of every row of `x` with every row of `y`, divided by the temperature."""
    return (
        jnp.einsum("id,jd->ij", _unit(x), _unit(y), precision=jax.lax.Precision.HIGHEST)
        / temperature
    )


def negatives(scene: Int[Array, " b"], valid: RowMask) -> Bool[Array, "b b"]:
    """Which (i, j) may be compared: the pair itself, and valid rows with another scene."""
    same = scene[:, None] == scene[None, :]
    itself = jnp.eye(scene.shape[0], dtype=bool)
    return itself | (~same & valid[:, None] & valid[None, :])


def sym_info_nce(
    x: Embeddings,
    y: Embeddings,
    temperature: Float[Array, ""] | float,
    allowed: Bool[Array, "b b"],
    valid: RowMask,
) -> Term:
    """½ [CE(S, diagonal) + CE(Sᵀ, diagonal)], S the similarity matrix (SDD's L_S).

    Entries where `allowed` is False are left out of both softmaxes. A batch of one gives 0.
    """
    scores = similarity_matrix(x, y, temperature)
    lowest = jnp.finfo(scores.dtype).min
    scores = jnp.where(allowed, scores, lowest)
    forward = jnp.diagonal(jax.nn.log_softmax(scores, axis=1))
    backward = jnp.diagonal(jax.nn.log_softmax(jnp.where(allowed.T, scores.T, lowest), axis=1))
    weight = valid.astype(scores.dtype)
    return (-0.5 * (forward + backward) * weight).sum(), weight.sum()


def retrieval_accuracy(
    x: Embeddings, y: Embeddings, allowed: Bool[Array, "b b"], valid: RowMask
) -> Term:
    """Share of rows whose most similar `y` is their own, of the rows that have a negative."""
    counted = valid & (allowed.sum(axis=1) > 1)
    scores = jnp.where(allowed, similarity_matrix(x, y, 1.0), -2.0)
    right = (scores.argmax(axis=1) == jnp.arange(scores.shape[0])) & counted
    return right.astype(jnp.float32).sum(), counted.astype(jnp.float32).sum()


def pair_cosine(x: Embeddings, y: Embeddings, weight: Float[Array, " b"]) -> Term:
    """Σ weight_i · cos(x_i, y_i) over Σ |weight_i| (SDD's L_D, minimised); -1 attracts a row."""
    cosine = (_unit(x) * _unit(y)).sum(axis=-1)
    return (cosine * weight).sum(), jnp.abs(weight).sum()


def matching(own: Float[Array, "b 2"], other: Float[Array, "b 2"], counted: RowMask) -> Term:
    """Cross-entropy of "matches" (1) for `own` and "does not" (0) for `other`, two answers a row
    (CL4AC)."""
    loss = -(jax.nn.log_softmax(own)[:, 1] + jax.nn.log_softmax(other)[:, 0])
    weight = counted.astype(jnp.float32)
    return (loss * weight).sum(), 2 * weight.sum()


def matching_accuracy(
    own: Float[Array, "b 2"], other: Float[Array, "b 2"], counted: RowMask
) -> Term:
    """Share of right answers to the two questions of every row."""
    right = (own.argmax(axis=-1) == 1).astype(jnp.float32) + (other.argmax(axis=-1) == 0)
    weight = counted.astype(jnp.float32)
    return (right * weight).sum(), 2 * weight.sum()


def tagging(logits: Float[Array, "b c"], labels: Float[Array, "b c"], valid: RowMask) -> Term:
    """Binary cross-entropy, mean over classes, one weight per row."""
    logits = logits.astype(jnp.float32)
    loss = jnp.maximum(logits, 0) - logits * labels + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    weight = valid.astype(jnp.float32)
    return (loss.mean(axis=-1) * weight).sum(), weight.sum()
