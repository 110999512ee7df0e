"""Choosing the next token of every row: the most likely one, or a draw from a cut distribution.

Nucleus (top-p) cutting after Holtzman et al., "The Curious Case of Neural Text Degeneration"
(ICLR 2020), section 3.1; the repetition penalty after Keskar et al., "CTRL" (arXiv 1909.05858),
section 4.1. Logits are [b v]; everything is computed in float32.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from adiff_jax.arrays import NextLogits


@dataclass(frozen=True)
class Greedy:
    """The most likely token; of equals, the one with the lowest id.

    `repetition` above 1 makes tokens that the row has already said less likely: `penalised`.
    """

    repetition: float = 1.0

    def __post_init__(self) -> None:
        _check_repetition(self)


@dataclass(frozen=True)
class Sample:
    """A draw from the distribution at `temperature`, cut to its most likely tokens.

    `top_k` keeps the k most likely (0: all). `top_p` then keeps the smallest set of the most
    likely tokens that holds at least this share of what top-k left (1: all); the token that
    crosses the threshold is kept. Of equally likely tokens those with lower ids go first.
    `repetition` is that of `Greedy`, and comes before all of these.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition: float = 1.0

    def __post_init__(self) -> None:
        _check_repetition(self)
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(
                f"Sample.temperature is {self.temperature}; it must be above 0. "
                "For the most likely token at every step use Greedy()."
            )
        if self.top_k < 0:
            raise ValueError(f"Sample.top_k is {self.top_k}; it must be 0 (keep all) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"Sample.top_p is {self.top_p}; it must lie in (0, 1], 1 keeps all")


def kept_tokens(sampler: Sample, logits: NextLogits) -> Bool[Array, "b v"]:
    """Which tokens `sampler` may draw, given logits [b v]. At least one in every row."""
    vocabulary = logits.shape[-1]
    top_k = min(sampler.top_k, vocabulary) or vocabulary
    if top_k == vocabulary and sampler.top_p == 1:
        return jnp.ones(logits.shape, bool)
    scaled = _at_temperature(sampler, logits)
    by_likelihood = jnp.argsort(-scaled, axis=-1, stable=True)
    ordered = jnp.take_along_axis(scaled, by_likelihood, axis=-1)
    kept = jnp.broadcast_to(jnp.arange(vocabulary) < top_k, logits.shape)
    probability = jax.nn.softmax(ordered, axis=-1, where=kept)
    mass_before = jnp.cumsum(probability, axis=-1) - probability
    kept &= (mass_before < sampler.top_p) | (jnp.arange(vocabulary) == 0)
    rank = jnp.argsort(by_likelihood, axis=-1)
    return jnp.take_along_axis(kept, rank, axis=-1)


def _check_repetition(sampler: "Greedy | Sample") -> None:
    if not (sampler.repetition > 0 and math.isfinite(sampler.repetition)):
        raise ValueError(
            f"{type(sampler).__name__}.repetition is {sampler.repetition}; it must be above 0, "
            "1 for no penalty, 1.2 for a usual one"
        )


def penalised(
    logits: NextLogits, said: Bool[Array, "b v"], repetition: float
) -> Float[Array, "b v"]:
    """Logits with those of `said` tokens lowered: divided by `repetition`, or multiplied by it
    where they are negative. Which are which depends on the model's own zero."""
    logits = logits.astype(jnp.float32)
    lowered = jnp.where(logits > 0, logits / repetition, logits * repetition)
    return jnp.where(said, lowered, logits)


def most_likely(logits: NextLogits) -> Int[Array, " b"]:
    """The argmax of every row, of equals the lowest; the last token where there is a NaN."""
    # A maximum and a minimum: XLA computes argmax, the same thing, several times slower on CPU.
    last = logits.shape[-1] - 1
    is_top = logits == logits.max(axis=-1, keepdims=True)
    return jnp.where(is_top, jnp.arange(last + 1), last).min(axis=-1).astype(jnp.int32)


def next_tokens(
    sampler: Greedy | Sample,
    logits: NextLogits,
    keys: jax.Array | None = None,
    said: Bool[Array, "b v"] | None = None,
) -> Int[Array, " b"]:
    """Token ids [b] int32 from logits [b v]; `Sample` needs `keys` [b], one per row.

    One key per row rather than one for the batch: what a row draws then does not depend on
    which other rows stand beside it. A repetition penalty needs `said`.
    """
    if sampler.repetition != 1:
        if said is None:
            raise ValueError("a repetition penalty needs to know the tokens: pass said")
        logits = penalised(logits, said, sampler.repetition)
    match sampler:
        case Greedy():
            return most_likely(logits)
        case Sample():
            if keys is None:
                raise ValueError("Sample draws at random: pass keys, one per row")
            scaled = _at_temperature(sampler, logits)
            kept = jnp.where(kept_tokens(sampler, logits), scaled, -jnp.inf)
            return jax.vmap(jax.random.categorical)(keys, kept).astype(jnp.int32)


def _at_temperature(sampler: Sample, logits: NextLogits) -> NextLogits:
    # The best logit is moved to 0 first, so that a tiny temperature cannot overflow.
    logits = logits.astype(jnp.float32)
    return (logits - logits.max(axis=-1, keepdims=True)) / sampler.temperature
