"""Two small captioners whose sentences can be worked out by hand, and reference searches."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch, Output

Step = Callable[[Sequence[int]], np.ndarray]
"""Log-probabilities [v] of the token after a given beginning."""


STOP = 1


class MarkovCaptioner(nn.Module):
    """The next logits depend on the last token only: row `token` of the example's own table.

    The table is `batch.features_1` [b v+1 v]; its last row predicts the first token. `on_extend`
    is called from the running program at every `extend`.
    """

    vocabulary: int
    on_extend: Callable[[], None] | None = None

    def encode(self, batch: Batch, train: bool = False) -> jax.Array:
        return batch.features_1

    def prefill(self, conditioning: jax.Array, capacity: int) -> tuple[jax.Array, Any]:
        return conditioning[:, self.vocabulary], conditioning

    def extend(self, cache: jax.Array, token: jax.Array) -> tuple[jax.Array, Any]:
        if self.on_extend is not None:
            jax.debug.callback(self.on_extend)
        return cache[jnp.arange(token.shape[0]), token], cache

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return _forced(self, batch)


class RecurrentCaptioner(nn.Module):
    """A GRU started from the mean of `features_1`, also kept as a memory: all history matters."""

    vocabulary: int
    width: int = 8

    def setup(self) -> None:
        self.embed = nn.Embed(self.vocabulary, self.width)
        self.start = nn.Dense(self.width)
        self.cell = nn.GRUCell(self.width)
        self.head = nn.Dense(self.vocabulary)

    def encode(self, batch: Batch, train: bool = False) -> jax.Array:
        return batch.features_1.mean(axis=1)

    def _logits(self, state: jax.Array, memory: jax.Array) -> jax.Array:
        return self.head(jnp.concatenate([state, memory], axis=-1))

    def prefill(self, conditioning: jax.Array, capacity: int) -> tuple[jax.Array, Any]:
        state = jnp.tanh(self.start(conditioning))
        return self._logits(state, conditioning), {"state": state, "memory": conditioning}

    def extend(self, cache: Any, token: jax.Array) -> tuple[jax.Array, Any]:
        state, _ = self.cell(cache["state"], self.embed(token))
        return self._logits(state, cache["memory"]), {**cache, "state": state}

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return _forced(self, batch)


def _forced(model: Any, batch: Batch) -> Output:
    logits, cache = model.prefill(model.encode(batch), batch.tokens.shape[1])
    steps = [logits]
    for i in range(batch.tokens.shape[1] - 1):
        logits, cache = model.extend(cache, batch.tokens[:, i])
        steps.append(logits)
    return Output(logits=jnp.stack(steps, axis=1))


def batch_of(features: np.ndarray, valid: Sequence[bool] | None = None) -> Batch:
    rows = len(features)
    return Batch(
        valid=np.ones(rows, bool) if valid is None else np.asarray(valid),
        example_id=np.arange(rows, dtype=np.int32),
        features_1=np.asarray(features, np.float32),
    )


def recurrent(
    vocabulary: int, rows: int, seed: int = 0
) -> tuple[RecurrentCaptioner, Any, Batch, np.ndarray]:
    """A random GRU captioner that likes to stop, its variables, a batch and its features."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 3, 8)).astype(np.float32)
    model = RecurrentCaptioner(vocabulary)
    batch = batch_of(features)
    example = batch.replace(tokens=np.zeros((rows, 2), np.int32))
    shapes = jax.eval_shape(model.init, jax.random.key(0), example)
    variables = jax.tree.map(
        lambda leaf: random.normal(size=leaf.shape, scale=0.6).astype(np.float32), shapes
    )
    variables["params"]["head"]["bias"] += 1.5 * (np.arange(vocabulary) == STOP)
    return model, variables, batch, features


@partial(jax.jit, static_argnames="model")
def _forced_logprob(model: nn.Module, variables: Any, batch: Batch) -> jax.Array:
    return jax.nn.log_softmax(model.apply(variables, batch).logits, axis=-1)


def steps_of(model: nn.Module, variables: Any, features: np.ndarray, longest: int) -> Step:
    """The model as a function of the beginning, by teacher forcing one row, without a cache."""

    batch = batch_of(features[None])
    known: dict[tuple[int, ...], np.ndarray] = {}

    def step(beginning: Sequence[int]) -> np.ndarray:
        beginning = tuple(beginning)
        if beginning not in known:
            tokens = np.zeros((1, longest), np.int32)
            tokens[0, : len(beginning)] = beginning
            logprob = _forced_logprob(model, variables, batch.replace(tokens=tokens))
            known[beginning] = np.asarray(logprob, np.float64)[0, len(beginning)]
        return known[beginning]

    return step


def markov_steps(table: np.ndarray) -> Step:
    """The Markov model of one row, in float64."""
    logits = table.astype(np.float64)
    logprob = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return lambda beginning: logprob[beginning[-1] if len(beginning) else -1]


def penalty(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


def every_sentence(
    step: Step, vocabulary: int, longest: int, stop: int, alpha: float = 0.0
) -> list[tuple[float, float, tuple[int, ...]]]:
    """All sentences that end with `stop`, as (score, logprob, tokens), best first."""
    others = [t for t in range(vocabulary) if t != stop]
    found = []
    for words in range(longest):
        for body in itertools.product(others, repeat=words):
            tokens = (*body, stop)
            logprob = sum(step(tokens[:i])[tokens[i]] for i in range(len(tokens)))
            found.append((logprob / penalty(len(tokens), alpha), logprob, tokens))
    return sorted(found, reverse=True)


def plain_beam(
    step: Step, vocabulary: int, longest: int, stop: int, size: int, alpha: float = 0.0
) -> list[tuple[float, float, tuple[int, ...]]]:
    """Beam search by its definition, one row, never stopping early; best `size`, finished first."""
    opened: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    finished = []
    for length in range(1, longest + 1):
        candidates = [
            (logprob + step(tokens)[token], (*tokens, token))
            for logprob, tokens in opened
            for token in range(vocabulary)
        ]
        candidates.sort(key=lambda c: -c[0])
        finished += [
            (logprob / penalty(length, alpha), logprob, tokens)
            for logprob, tokens in candidates[:size]
            if tokens[-1] == stop
        ]
        opened = [c for c in candidates if c[1][-1] != stop][:size]
    cut = [(logprob / penalty(longest, alpha), logprob, tokens) for logprob, tokens in opened]
    return (sorted(finished, reverse=True) + sorted(cut, reverse=True))[:size]
