"""Which events that sentences name are not what a model's tagging head hears in their clips."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.data.schema import Source, Truth
from adiff_jax.evaluate.gather import gather_each
from adiff_jax.evaluate.unsupported import unsupported, warnings_score
from adiff_jax.listening import Whole
from adiff_jax.models.adiff import Adiff
from adiff_jax.parallel.mesh import local_rows
from adiff_jax.parts import Parts
from adiff_jax.protocol import Variables


def score_warnings(
    parts: Parts,
    variables: Variables,
    source: Source,
    texts: Sequence[str],
    truths: Sequence[Truth],
) -> tuple[dict[str, Any], dict[str, str]]:
    """How right warnings of the events in `texts` are, one an example of `source` in its order, as
    are `truths`; and why what is absent is. Nothing at all for models without tags. A collective.
    """
    if not isinstance(parts.experiment.model, Adiff):
        return {}, {}
    if not parts.classes:
        return {}, {"unsupported": "the classes of the tagging head have no names"}
    if isinstance(source, Whole):
        warned = [
            unsupported(text, parts.classes, events)
            for text, events in zip(texts, source.events, strict=True)
        ]
    else:
        found = _warned(parts, variables, source, texts)
        if found is None:
            return {}, {"unsupported": "the examples hold embeddings, and tags need audio"}
        warned = found
    return warnings_score(texts, warned, truths, parts.classes)


def _warned(
    parts: Parts, variables: Variables, source: Source, texts: Sequence[str]
) -> list[tuple[str, ...]] | None:
    """The unsupported events of every text; None for examples without audio."""
    rows = []
    for arrays in parts.rows(source):
        if "audio_1" not in arrays:
            return None
        tags = _tags(parts.objective.module, variables, parts.to_batch(arrays))
        probabilities = local_rows(tags, parts.mesh)
        for place in np.flatnonzero(arrays["valid"]):
            index = int(arrays["example_id"][place])
            names = unsupported(texts[index], parts.classes, probabilities[place])
            rows.append({"id": index, "names": list(names)})
    return [tuple(row["names"]) for row in gather_each(rows, len(source))]


@partial(jax.jit, static_argnames="module")
def _tags(module: Any, variables: Variables, batch: Batch) -> jax.Array:
    """Probabilities [b 2 c]."""
    return jax.nn.sigmoid(module.apply(variables, batch, method="tags").astype("float32"))
