"""What `scoring` puts together: measures of sentences that were read, as scores of a system."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate import clip_sounds, explanations, structured
from adiff_jax.evaluate.explanations import Readers, asks_for_caption, can_judge
from adiff_jax.evaluate.similarity import quartile_measures, quartiles
from adiff_jax.evaluate.structured import Answer, Measure


class Scored(NamedTuple):
    """One system on one data set: its scores, and the measures behind them by dotted name, each
    [n] in the order of id over the whole data set (pairs that a measure leaves out count 0)."""

    scores: dict[str, Any]
    measures: dict[str, Measure]


def add_structure(
    scored: Scored, texts: Sequence[str], truths: Sequence[Truth], readers: Readers
) -> None:
    """Add the structured scores of all pairs of known edits but those that ask for a caption."""
    missing = scored.scores["missing"]
    asked = [place for place, truth in enumerate(truths) if not asks_for_caption(truth)]
    known = [place for place in asked if truths[place].edits is not None]
    if not known:
        missing["structured"] = "the true edits of no example are known"
        return
    if len(known) < len(asked):
        missing["structured.count"] = f"the true edits of {len(asked) - len(known)} are unknown"
    said = [texts[place] for place in known]
    answers = [
        Answer(frozenset(truths[i].edits or ()), readers.program(texts[i], truths[i]))
        for i in known
    ]
    scored.scores["structured"] = structured.counts(answers, said)
    _add_ratios(scored, "structured", structured.measures(answers), known, len(truths))


def add_explanations(
    scored: Scored, texts: Sequence[str], truths: Sequence[Truth], readers: Readers
) -> None:
    """Add the scores of explanations, of all pairs of tier 1 to 3 of which all is known."""
    missing = scored.scores["missing"]
    asked = [place for place, truth in enumerate(truths) if truth.tier > 0]
    if not asked:
        return
    known = [place for place in asked if can_judge(truths[place])]
    if not known:
        missing["explanations"] = "what is heard in the clips of no example is known"
        return
    if len(known) < len(asked):
        missing["explanations.count"] = f"what is heard in {len(asked) - len(known)} is unknown"
    scored.scores["explanations"] = {"count": len(known)}
    found = explanations.measures(
        [texts[i] for i in known], [truths[i] for i in known], readers.explanation
    )
    _add_ratios(scored, "explanations", found, known, len(truths))


def add_sounds(
    scored: Scored, texts: Sequence[str], truths: Sequence[Truth], readers: Readers
) -> None:
    """Add the scores of captions by the sounds they name, of single clips of which all is known."""
    known = [place for place, truth in enumerate(truths) if clip_sounds.can_judge(truth)]
    if not known:
        return
    scored.scores["sounds"] = {"count": len(known)}
    found = clip_sounds.measures(
        [texts[i] for i in known], [truths[i] for i in known], readers.sounds
    )
    _add_ratios(scored, "sounds", found, known, len(truths))


def add_quartiles(scored: Scored, similarity: np.ndarray) -> None:
    """Add the scores of every quartile of `similarity` [n], in the order of id."""
    group = quartiles(similarity)
    for place, (name, found) in enumerate(quartile_measures(scored.measures, similarity).items()):
        within = similarity[group == place]
        scores: dict[str, Any] = {"count": len(within)}
        if len(within):
            scores |= {"lowest": float(within.min()), "highest": float(within.max())}
        scored.scores.setdefault("similarity", {})[name] = scores
        _add_ratios(scored, f"similarity.{name}", found, range(len(similarity)), len(similarity))


def _add_ratios(
    scored: Scored, group: str, found: Mapping[str, Measure], places: Sequence[int], length: int
) -> None:
    """Add measures of the examples at `places` to the measures and, as ratios, to the scores."""
    for name, one in found.items():
        dotted = f"{group}.{name}"
        if one.counts.sum() == 0:
            scored.scores["missing"][dotted] = "it applies to no example"
            continue
        *path, key = dotted.split(".")
        scores = scored.scores
        for step in path:
            scores = scores.setdefault(step, {})
        scores[key] = float(one.values.sum() / one.counts.sum())
        scored.measures[dotted] = spread(one, places, length)


def spread(measure: Measure, places: Sequence[int], length: int) -> Measure:
    """A measure of the examples at `places` as one of all `length`; the others count 0."""
    result = Measure(np.zeros(length), np.zeros(length))
    for whole, part in zip(result, measure, strict=True):
        whole[list(places)] = part
    return result
