"""Beam search over cached next-token logits, batched, jitted, with an exact early stop.

At every step the open hypotheses of a row are extended by every token. A stop token ends a
hypothesis if the extension is among the `size` best of that step; ended hypotheses move to a list
of their own, and the `size` best extensions by other tokens stay open. A row is settled when no
open hypothesis can still enter its best `n_best` finished ones, so stopping early changes nothing.

With `stops="each"` hypotheses do not compete for ending: a stop token ends one if it is among the
`size` likeliest tokens after it. So does the published search of CL4AC (Liu et al., 2021): more
sentences end, also less likely ones. It goes on until the best extension of a step ends, which
finds nothing better than what is settled before.

A hypothesis of `length` tokens (end token included) scores

    score = logprob / ((5 + length) / 6) ** length_penalty

(Wu et al. 2016, arXiv 1609.08144, section 7): 0 ranks by the sum of log-probabilities, larger
values favour longer sentences. Without a penalty a beam of one is greedy decoding.

Shapes: hypotheses are [b k t], k = `size`; cache leaves [b·k, ...], a row's hypotheses adjacent.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from adiff_jax.arrays import NextLogits
from adiff_jax.decode.rooms import Rooms
from adiff_jax.protocol import Cache

Extend = Callable[[Cache, jax.Array], tuple[NextLogits, Cache]]

Stops = Literal["best", "each"]
"""Which stop tokens end a hypothesis: those of the step's `size` best extensions, or those of the
`size` likeliest tokens after each hypothesis."""


@dataclass(frozen=True)
class Beam:
    """Beam search: `size` open hypotheses, the best `n_best` returned, scored as above."""

    size: int = 4
    length_penalty: float = 0.0
    n_best: int = 1
    stops: Stops = "best"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Beam.size is {self.size}; it must be 1 or more")
        if not 1 <= self.n_best <= self.size:
            raise ValueError(
                f"Beam.n_best is {self.n_best}; a beam of {self.size} returns 1 to {self.size} "
                "hypotheses: raise Beam.size or lower Beam.n_best"
            )
        if not 0 <= self.length_penalty < float("inf"):
            raise ValueError(
                f"Beam.length_penalty is {self.length_penalty}; it must be 0 (none) or more"
            )


@struct.dataclass
class Hypotheses:
    """Hypotheses of every row, best first. Absent ones have score -inf and length 0."""

    tokens: Any  # [b k t] int32, end token included, 0 after `length`
    length: Any  # [b k] int32
    logprob: Any  # [b k] float32
    score: Any  # [b k] float32


@struct.dataclass
class _State:
    step: Any  # [] int32, tokens decided so far
    cache: Any
    open: Hypotheses
    finished: Hypotheses


def beam_search(
    extend: Extend,
    logits: NextLogits,
    cache: Cache,
    valid: Bool[Array, " b"],
    beam: Beam,
    rooms: Rooms,
    stop_ids: tuple[int, ...],
) -> tuple[Hypotheses, Bool[Array, "b n"], jax.Array]:
    """Search from the prefilled `logits` [b v] and `cache`.

    Returns the best `n_best` hypotheses of every row, whether each ended with a stop token, and
    the number of steps taken. Finished hypotheses come first, by score; where there are fewer
    than `n_best`, open ones cut at the last room follow, by score. Rows that are not `valid`
    hold absent hypotheses only.
    """
    rows, max_tokens = logits.shape[0], rooms.sizes[-1]
    nothing = Hypotheses(
        tokens=jnp.zeros((rows, beam.size, max_tokens), jnp.int32),
        length=jnp.zeros((rows, beam.size), jnp.int32),
        logprob=jnp.full((rows, beam.size), -jnp.inf),
        score=jnp.full((rows, beam.size), -jnp.inf),
    )
    start = jnp.where(valid, 0.0, -jnp.inf)
    opened = replace(nothing, logprob=nothing.logprob.at[:, 0].set(start))
    state = _State(
        step=jnp.int32(0),
        cache=jax.tree.map(lambda leaf: jnp.repeat(leaf, beam.size, axis=0), cache),
        open=opened,
        finished=nothing,
    )

    def unsettled(state: _State) -> jax.Array:
        return ~_settled(beam, state, max_tokens).all()

    def advance(state: _State) -> _State:
        token = state.open.tokens[:, :, state.step - 1].reshape(-1)
        logits, cache = extend(state.cache, token)
        return _select(beam, replace(state, cache=cache), logits, stop_ids)

    state = _select(beam, state, jnp.repeat(logits, beam.size, axis=0), stop_ids)
    state = rooms.loop(unsettled, advance, state)
    best, ended = _best(beam, state)
    return best, ended, state.step


def _select(beam: Beam, state: _State, logits: NextLogits, stop_ids: tuple[int, ...]) -> _State:
    """One step of the search: the hypotheses after the token that logits [b·k v] predict."""
    rows, size, _ = state.open.tokens.shape
    vocabulary = logits.shape[-1]
    logprob = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    so_far = state.open.logprob[:, :, None]
    # What a model says after an absent hypothesis is no number to rely on.
    candidates = jnp.where(
        so_far > -jnp.inf, so_far + logprob.reshape(rows, size, vocabulary), -jnp.inf
    )
    step = state.step + 1

    def is_stop(token: Int[Array, "b c"]) -> Bool[Array, "b c"]:
        return jnp.isin(token, jnp.asarray(stop_ids, jnp.int32))

    def extended(
        parent: Int[Array, "b c"], token: Int[Array, "b c"], logprob: Float[Array, "b c"]
    ) -> Hypotheses:
        tokens = jnp.take_along_axis(state.open.tokens, parent[:, :, None], axis=1)
        return Hypotheses(
            tokens=tokens.at[:, :, state.step].set(token),
            length=jnp.where(logprob > -jnp.inf, step, 0),
            logprob=logprob,
            score=logprob / _penalty(beam, step),
        )

    # At most size * len(stop_ids) candidates are stops, so `size` others are among these.
    enough = size * min(1 + len(stop_ids), vocabulary)
    ranked, where = _largest(candidates.reshape(rows, -1), enough)
    parent, token = where // vocabulary, where % vocabulary
    going = extended(parent, token, jnp.where(is_stop(token), -jnp.inf, ranked))
    opened, chosen = _top(going, size)
    if beam.stops == "best":
        leads = jnp.arange(enough) < size
        ended = extended(parent, token, jnp.where(is_stop(token) & leads, ranked, -jnp.inf))
    else:
        count = min(size, vocabulary)
        likely, after = _largest(candidates.reshape(-1, vocabulary), count)
        likely, after = likely.reshape(rows, -1), after.reshape(rows, -1)
        own = jnp.broadcast_to(jnp.repeat(jnp.arange(size), count), after.shape)
        ended = extended(own, after, jnp.where(is_stop(after), likely, -jnp.inf))
    finished, _ = _top(_concatenate(state.finished, ended), size)
    source = jnp.take_along_axis(parent, chosen, axis=1)
    return _State(step=step, cache=_reorder(state.cache, source), open=opened, finished=finished)


def _settled(beam: Beam, state: _State, max_tokens: int) -> Bool[Array, " b"]:
    """Rows in which no open hypothesis can still enter the best `n_best` finished ones.

    Log-probabilities only fall and the penalty only grows, so an open hypothesis can score at
    best its present log-probability under the penalty of the longest sentence.
    """
    attainable = state.open.logprob.max(axis=1) / _penalty(beam, max_tokens)
    return state.finished.score[:, beam.n_best - 1] >= attainable


def _best(beam: Beam, state: _State) -> tuple[Hypotheses, Bool[Array, "b n"]]:
    everything = _concatenate(state.finished, state.open)
    is_open = jnp.arange(2 * beam.size) >= beam.size
    absent = everything.score == -jnp.inf
    group = jnp.where(absent, 2, is_open[None, :])
    order = jnp.lexsort((-everything.score, group), axis=-1)[:, : beam.n_best]
    ended = jnp.take_along_axis(group == 0, order, axis=1)
    best = _take(everything, order)
    present = jnp.arange(best.tokens.shape[-1]) < best.length[:, :, None]
    return replace(best, tokens=jnp.where(present, best.tokens, 0)), ended


def _penalty(beam: Beam, length: jax.Array | int) -> jax.Array:
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** beam.length_penalty


def _top(hypotheses: Hypotheses, count: int) -> tuple[Hypotheses, jax.Array]:
    """The `count` best of every row, best first, and their places [b count]."""
    places = jnp.argsort(-hypotheses.score, axis=1, stable=True)[:, :count]
    return _take(hypotheses, places), places


def _largest(
    values: Float[Array, "b c"], count: int
) -> tuple[Float[Array, "b n"], Int[Array, "b n"]]:
    """The `count` largest values of every row, largest first, and their places.

    By repeated maximum: unlike `jax.lax.top_k`, a custom call that XLA does not partition, it
    stays on a row's device, and for a few values it is far cheaper than a sort.
    """
    columns = values.shape[1]
    column = jnp.arange(columns)

    def take_one(rest: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        # A maximum and a minimum: XLA computes argmax, the same thing, several times slower.
        top = rest.max(axis=1)
        place = jnp.where(rest == top[:, None], column, columns).min(axis=1)
        return jnp.where(column == place[:, None], -jnp.inf, rest), (top, place)

    _, (largest, places) = jax.lax.scan(take_one, values, length=count)
    return largest.T, places.T


def _take(hypotheses: Hypotheses, places: Int[Array, "b n"]) -> Hypotheses:
    """Those at `places` of every row.

    Chosen among all, not gathered: libtpu (0.0.51) does not come to an end of compiling a loop in
    which these are gathered from finished and new ones.
    """
    chosen = places[:, :, None] == jnp.arange(hypotheses.score.shape[1])

    def take(leaf: jax.Array) -> jax.Array:
        here = chosen if leaf.ndim == 2 else chosen[..., None]
        return jnp.where(here, leaf[:, None], 0).sum(axis=2, dtype=leaf.dtype)

    return jax.tree.map(take, hypotheses)


def _concatenate(first: Hypotheses, second: Hypotheses) -> Hypotheses:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), first, second)


def _reorder(cache: Cache, source: jax.Array) -> Cache:
    """Give hypothesis j of row i the cache of hypothesis `source[i, j]` [b k] of the same row.

    Taken within each row rather than along the flat axis, so that a cache sharded over rows is
    not gathered on every device.
    """
    rows, size = source.shape

    def reorder(leaf: jax.Array) -> jax.Array:
        grouped = leaf.reshape(rows, size, *leaf.shape[1:])
        index = source.reshape(rows, size, *(1,) * (leaf.ndim - 1))
        return jnp.take_along_axis(grouped, index, axis=1).reshape(leaf.shape)

    return jax.tree.map(reorder, cache)
