"""Small objectives that obey the protocol, and data for them: a function of the step."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch, Term
from adiff_jax.losses import sym_info_nce

INPUTS, OUTPUTS = 12, 4


class Net(nn.Module):
    """[b n] -> [b 4]: an encoder, perhaps batch norm and dropout, a head."""

    width: int = 32
    batch_norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Dense(self.width, name="encoder")(x)
        if self.batch_norm:
            x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(jax.nn.gelu(x))
        return nn.Dense(OUTPUTS, name="head")(x)


@dataclass(frozen=True)
class Regression:
    """Squared error on all valid rows, absolute error on those whose first label is positive."""

    net: Net = Net()
    squared: float = 1.0
    absolute: float = 0.5

    @property
    def weights(self) -> Mapping[str, float]:
        return {"squared": self.squared, "absolute": self.absolute}

    @property
    def couples_examples(self) -> bool:
        return self.net.batch_norm

    @property
    def frozen(self) -> tuple[str, ...]:
        return ()

    @property
    def streams(self) -> tuple[str, ...]:
        return ("dropout",)

    def init(self, key: jax.Array, batch: Batch) -> Mapping[str, Any]:
        return self.net.init(key, batch.audio_1, False)

    def loss(
        self,
        variables: Mapping[str, Any],
        batch: Batch,
        rngs: Mapping[str, jax.Array],
        train: bool,
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        out, new = self.net.apply(
            variables, batch.audio_1, train, rngs=dict(rngs), mutable=["batch_stats"]
        )
        error = out - batch.labels
        valid = batch.valid.astype(jnp.float32)
        positive = valid * (batch.labels[:, 0] > 0)
        terms = {
            "squared": ((error**2).mean(axis=1) @ valid, valid.sum()),
            "absolute": (jnp.abs(error).mean(axis=1) @ positive, positive.sum()),
        }
        return terms, new.get("batch_stats", {}), {"mean_output": (out.sum(), valid.sum())}


@dataclass(frozen=True)
class Contrastive:
    """SymInfoNCE between the two clips of a pair, over the whole batch."""

    net: Net = Net()

    @property
    def weights(self) -> Mapping[str, float]:
        return {"similarity": 1.0}

    @property
    def couples_examples(self) -> bool:
        return True

    @property
    def frozen(self) -> tuple[str, ...]:
        return ()

    @property
    def streams(self) -> tuple[str, ...]:
        return ()

    def init(self, key: jax.Array, batch: Batch) -> Mapping[str, Any]:
        return self.net.init(key, batch.audio_1, False)

    def loss(
        self,
        variables: Mapping[str, Any],
        batch: Batch,
        rngs: Mapping[str, jax.Array],
        train: bool,
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        first, second = (
            self.net.apply(variables, x, False) for x in (batch.audio_1, batch.audio_2)
        )
        allowed = batch.valid[:, None] & batch.valid[None, :]
        return {"similarity": sym_info_nce(first, second, 0.1, allowed, batch.valid)}, {}, {}


def rows_of(step: int, rows: int = 16) -> dict[str, np.ndarray]:
    """The batch of one step, the same in every process; the last row is padding."""
    random = np.random.default_rng(step)
    audio = random.normal(size=(rows, INPUTS)).astype(np.float32)
    return {
        "audio_1": audio,
        "audio_2": (audio + 0.3 * random.normal(size=audio.shape)).astype(np.float32),
        "labels": np.sin(audio[:, :OUTPUTS] * 2).astype(np.float32),
        "valid": np.arange(rows) < rows - 1,
        "example_id": np.arange(step * rows, (step + 1) * rows, dtype=np.int32),
    }


def batches_of(rows: int = 16) -> Callable[[int], Iterator[dict[str, np.ndarray]]]:
    """The stream that `fit` asks for."""

    def batches(start: int) -> Iterator[dict[str, np.ndarray]]:
        step = start
        while True:
            yield rows_of(step, rows)
            step += 1

    return batches
