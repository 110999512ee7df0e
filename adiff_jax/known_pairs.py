"""Baselines that know some training pairs: the caption that most have, and that of the nearest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.data.schema import Source, Truth
from adiff_jax.data.transforms import fair_caption
from adiff_jax.evaluate import baselines
from adiff_jax.evaluate.gather import gather_each
from adiff_jax.evaluate.predictions import Prediction
from adiff_jax.models.adiff import AdiffModel
from adiff_jax.opened import open_data
from adiff_jax.parallel.mesh import local_rows
from adiff_jax.parts import Parts
from adiff_jax.protocol import Variables

RETRIEVAL_EXAMPLES = 1024
"""Training examples, the first ones of those that are asked the same, that the baselines know."""

LOOKED_AT = 8 * RETRIEVAL_EXAMPLES
"""Training examples, the first ones, among which these are looked for."""


def truths_of(source: Source) -> list[Truth]:
    """References and edits of every example."""
    return [source.truth(index) for index in range(len(source))]


def known_pairs(parts: Parts, truths: Sequence[Truth]) -> "Chosen | None":
    """The training examples that the baselines know, asked what `truths` are asked: an explanation
    in another tier is no answer. None where there are none."""
    training = open_data(parts.experiment.data.train)
    questions = {truth.prompt for truth in truths}
    asked = (
        index
        for index in range(min(LOOKED_AT, len(training)))
        if training.truth(index).prompt in questions
    )
    found = tuple(islice(asked, RETRIEVAL_EXAMPLES))
    return Chosen(training, found) if found else None


def answer_like(
    parts: Parts, variables: Variables, source: Source, known: "Chosen"
) -> dict[str, Sequence[Prediction]]:
    """By baseline: the most frequent caption of the training pairs `known`, and one of the nearest
    of them."""
    captions = [fair_caption(truth.id, truth.references) for truth in truths_of(known)]
    truths = truths_of(source)
    said = (text for truth in truths_of(known) for text in truth.references)
    return {
        "most frequent": baselines.most_frequent(said, truths),
        "nearest": baselines.nearest(
            embeddings(parts, variables, source),
            truths,
            embeddings(parts, variables, known),
            captions,
        ),
    }


@dataclass(frozen=True)
class Chosen:
    """The examples `indices` of a source."""

    source: Source
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.source[self.indices[index]]

    def truth(self, index: int) -> Truth:
        return self.source.truth(self.indices[index])

    def texts(self) -> Iterator[str]:
        return self.source.texts()


def embeddings(parts: Parts, variables: Variables, source: Source) -> np.ndarray:
    """[n d] mean over the decoder's memory of every pair, the retrieval baseline's embedding."""
    rows = []
    for arrays in parts.rows(source):
        pooled = _embed(parts.objective.module, variables, parts.to_batch(arrays))
        found = local_rows(pooled, parts.mesh)
        rows += [
            {"id": int(arrays["example_id"][place]), "embedding": found[place].tolist()}
            for place in np.flatnonzero(arrays["valid"])
        ]
    return np.array([row["embedding"] for row in gather_each(rows, len(source))])


@partial(jax.jit, static_argnames="module")
def _embed(module: Any, variables: Variables, batch: Batch) -> jax.Array:
    if isinstance(module, AdiffModel):
        pooled: Any = module.apply(variables, batch, method="pooled")
        return pooled
    found: Any = module.apply(variables, batch, method="encode")
    weight = found.memory_mask[:, :, None]
    return (found.memory * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1)
