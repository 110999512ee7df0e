"""The two contracts between models and the rooms that use them.

`Captioner` is what `decode` and `evaluate` know of a model; `Objective` is what `train` knows.
Both are structural: nothing inherits from them.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax

from adiff_jax.arrays import Batch, NextLogits, Output, Term

Conditioning = Any
"""What a model keeps of a batch's audio and prompt: a pytree, batch is axis 0 of every leaf."""

Cache = Any
"""Decoding state: a pytree, batch is axis 0 of every leaf, cross-attention memory included."""

Variables = Mapping[str, Any]
"""Linen variables: "params" and, for models with batch norm, "batch_stats"."""


@runtime_checkable
class Captioner(Protocol):
    """A linen module that conditions on audio and predicts text, one token at a time or at once.

    Every method is called through `model.apply(variables, ..., method="encode")`.
    """

    def apply(self, variables: Variables, *args: Any, method: str | None = None) -> Any:
        """Linen's: run a method (by default `__call__`) with the given variables."""
        ...

    def encode(self, batch: Batch, train: bool = False) -> Conditioning:
        """Audio (and prompt) of the batch -> conditioning, computed once per example."""
        ...

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        """Teacher forcing over `batch.tokens`."""
        ...

    def prefill(self, conditioning: Conditioning, capacity: int) -> tuple[NextLogits, Cache]:
        """Consume the model's own start; logits of the first token and a cache that can hold
        `capacity` generated tokens."""
        ...

    def extend(self, cache: Cache, token: jax.Array) -> tuple[NextLogits, Cache]:
        """Append `token` [b] int32; logits of the next token."""
        ...


@runtime_checkable
class Objective(Protocol):
    """A trainable task. Frozen dataclasses of a model and its loss settings implement it."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each loss term in the total."""
        ...

    @property
    def couples_examples(self) -> bool:
        """Whether a loss term or batch norm looks across the batch, so that micro-batches do not
        add up to the full batch."""
        ...

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        """Fresh variables; called under `jax.eval_shape` first."""
        ...

    def loss(
        self, variables: Variables, batch: Batch, rngs: Mapping[str, jax.Array], train: bool
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        """Loss terms, new batch statistics (empty without batch norm) and metrics.

        `rngs` holds one key per named stream of `streams`. Terms are float32 (sum, weight) over
        the whole batch, rows with `batch.valid` False left out.
        """
        ...

    @property
    def frozen(self) -> tuple[str, ...]:
        """Patterns of the parameters that the task holds, in evaluation mode; as in
        `optimizer.freeze`, but one that matches nothing is no error."""
        ...

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the random streams that `loss` draws from when `train` is True."""
        ...
