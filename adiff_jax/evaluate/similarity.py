"""Scores by how alike the clips of a pair sound to the encoder, in quartiles of the pairs."""

from collections.abc import Mapping

import numpy as np

from adiff_jax.evaluate.structured import Measure

QUARTILES = ("1", "2", "3", "4")
"""Names of the groups; the clips of the first are the least alike."""

OF_QUARTILES = (
    "explanations.events.f1",
    "explanations.clip_events.f1",
    "explanations.attribution.right_clip",
    "explanations.hallucination.share",
    "explanations.omission.share",
    "explanations.attributes.f1",
    "structured.program.exact",
    "captions.cider_d",
)
"""Ends of the dotted names of scores that are told for every quartile."""


def quartiles(similarity: np.ndarray) -> np.ndarray:
    """The quartile 0 to 3 of every pair [n]; pairs that are equally alike are in one.

    Raises ValueError for similarities [n] that are not finite, or of no pair.
    """
    if similarity.ndim != 1 or not len(similarity) or not np.isfinite(similarity).all():
        raise ValueError("similarities must be finite numbers, one for every pair")
    edges = np.quantile(similarity, [0.25, 0.5, 0.75])
    return np.searchsorted(edges, similarity, side="left")


def quartile_measures(
    measures: Mapping[str, Measure], similarity: np.ndarray
) -> dict[str, dict[str, Measure]]:
    """The measures of `OF_QUARTILES` within each quartile of `similarity` [n], by its name and
    theirs: pairs of other quartiles count 0."""
    group = quartiles(similarity)
    return {
        quartile: {
            name: Measure(values * (group == place), counts * (group == place))
            for name, (values, counts) in measures.items()
            if name.endswith(OF_QUARTILES)
        }
        for place, quartile in enumerate(QUARTILES)
    }
