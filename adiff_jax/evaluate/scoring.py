"""Predictions and truths -> the nested scores of `metrics.json`.

    {"count", "tokenization",
     "captions":   {"bleu_1" ... "cider_d", ...},
     "structured": {"operation": {"accuracy"}, "event": {"accuracy", "count"}, ...},
     "explanations": {"events": {"f1", "precision", "recall"}, "attributes": {"f1"}, ...},
     "sounds":     {"events": {"f1", ...}, "background": {"accuracy"}, ...},
     "tiers":      {"1": {"count", "captions", "structured", "explanations"}, "2": ...},
     "similarity": {"1": {"count", "lowest", "highest", "explanations", "tiers", ...}, "2": ...},
     "intervals":  {"structured.operation.accuracy": [low, high], ...},
     "missing":    {"captions.spice": "why", ...},
     "baselines":  {"nearest": the same again, ...}}

What cannot be scored is absent and named under "missing"; nothing is scored as zero for that.
"explanations" are of the pairs of tier 1 to 3, "tiers" there where a data set is not all of one;
rows that ask for the caption of a clip are in none of "structured", "explanations" and "tiers".
"sounds" are of captions of examples that are one clip.
"similarity" is by quartile of how alike the clips of a pair are, the least alike first.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from etils import epath

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.captions import (
    CaptionConfig,
    MetricError,
    caption_scores,
    missing_metrics,
)
from adiff_jax.evaluate.evaluator import check_ids
from adiff_jax.evaluate.explanations import Readers, asks_for_caption
from adiff_jax.evaluate.intervals import Clusters, TooFewRecordings, interval
from adiff_jax.evaluate.measuring import (
    Scored,
    add_explanations,
    add_quartiles,
    add_sounds,
    add_structure,
    spread,
)
from adiff_jax.evaluate.predictions import Prediction
from adiff_jax.evaluate.structured import Measure
from adiff_jax.storage import write_below

DECIMALS = 6

HIGHEST = {"captions.cider_d": 10.0, "captions.spider": 5.5}
"""Scores that are not shares: what they can reach."""


@dataclass(frozen=True)
class ScoreConfig:
    """What to compute: the caption metrics, and the level and draws of the intervals."""

    captions: CaptionConfig = field(default_factory=CaptionConfig)
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0


def highest(name: str) -> float:
    """What the score of this dotted name can reach; none falls below zero."""
    return next((most for score, most in HIGHEST.items() if name.endswith(score)), 1.0)


def score(
    predictions: Sequence[Prediction],
    truths: Sequence[Truth],
    config: ScoreConfig,
    *,
    readers: Readers | None = None,
    baselines: Mapping[str, Sequence[Prediction]] | None = None,
    similarity: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Everything that `metrics.json` holds, in the form of the module docstring.

    `readers` turn a sentence into what it says, for all scores but those of captions. References
    and programs are those of `truths`, whatever a prediction file says. `similarity`, by id, says
    how alike the clips of every pair are. Raises ValueError when ids differ, and MetricError when a
    required metric cannot run or fails.
    """
    systems = {"": predictions, **(baselines or {})}
    results = {}
    for name, answers in systems.items():
        scored = measure(answers, truths, config, readers=readers, similarity=similarity)
        add_intervals(scored, truths, config)
        results[name] = scored.scores
    result = results.pop("")
    return {**result, "baselines": results} if baselines else result


def measure(
    predictions: Sequence[Prediction],
    truths: Sequence[Truth],
    config: ScoreConfig,
    *,
    readers: Readers | None = None,
    similarity: Mapping[str, float] | None = None,
) -> Scored:
    """Score one system without intervals."""
    check_ids(predictions, truths)
    truths = _by_id(truths)
    texts = [prediction.text for prediction in sorted(predictions, key=lambda row: row.id)]
    scored = Scored({"count": len(truths), "intervals": {}, "missing": {}}, {})
    _measure_captions(scored, texts, truths, config.captions)
    if readers is None:
        scored.scores["missing"] |= {
            "structured": "no reader of edits",
            "explanations": "no reader of explanations",
        }
    else:
        add_structure(scored, texts, truths, readers)
        add_explanations(scored, texts, truths, readers)
        add_sounds(scored, texts, truths, readers)
    _measure_tiers(scored, predictions, truths, config, readers)
    if similarity is not None:
        if len(similarity) != len(truths) or any(one.id not in similarity for one in truths):
            raise ValueError(f"{len(similarity)} similarities do not fit {len(truths)} examples")
        add_quartiles(scored, np.array([similarity[truth.id] for truth in truths]))
    return scored


def check_required(truths: Sequence[Truth], config: CaptionConfig) -> None:
    """Raise MetricError when a metric that `config` requires cannot run on these examples."""
    if config.require and (reason := _without_references(truths)):
        raise MetricError(f"{config.require[0]} is required but cannot run: {reason}")
    missing_metrics(config)


def write_metrics(path: epath.PathLike, metrics: Mapping[str, Any]) -> None:
    """Write scores as JSON, keys sorted and numbers rounded: equal scores are equal bytes.

    Raises ValueError, naming the key, for a number that is not finite.
    """
    rounded = _rounded(metrics, "")
    write_below(path, json.dumps(rounded, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _measure_captions(
    scored: Scored, texts: Sequence[str], truths: Sequence[Truth], config: CaptionConfig
) -> None:
    check_required(truths, config)
    if reason := _without_references(truths):
        scored.scores["missing"]["captions"] = reason
        return
    found = caption_scores(texts, [truth.references for truth in truths], config)
    scored.scores["tokenization"] = found.tokenization
    scored.scores["captions"] = found.corpus
    scored.scores["missing"] |= {f"captions.{k}": reason for k, reason in found.missing.items()}
    for name, values in found.examples.items():
        scored.measures[f"captions.{name}"] = Measure(values, np.ones(len(values)))


def _without_references(truths: Sequence[Truth]) -> str:
    """Why there is nothing to compare sentences with; "" when there is."""
    without = [truth.id for truth in truths if not truth.references]
    return f"{len(without)} examples have no reference, such as {without[0]}" if without else ""


def _measure_tiers(
    scored: Scored,
    predictions: Sequence[Prediction],
    truths: Sequence[Truth],
    config: ScoreConfig,
    readers: Readers | None,
) -> None:
    """The scores of every tier by itself, where a data set holds anything else as well."""
    by_tier: dict[int, list[int]] = {}
    for place, truth in enumerate(truths):
        if not asks_for_caption(truth):
            by_tier.setdefault(truth.tier, []).append(place)
    if any(len(places) == len(truths) for places in by_tier.values()):
        return
    said = {prediction.id: prediction for prediction in predictions}
    for tier, places in sorted(by_tier.items()):
        some = [truths[place] for place in places]
        alone = measure([said[truth.id] for truth in some], some, config, readers=readers)
        prefix = f"tiers.{tier}"
        scores = {k: v for k, v in alone.scores.items() if k not in ("intervals", "missing")}
        scored.scores.setdefault("tiers", {})[str(tier)] = scores
        scored.scores["missing"] |= {
            f"{prefix}.{name}": reason for name, reason in alone.scores["missing"].items()
        }
        for name, one in alone.measures.items():
            scored.measures[f"{prefix}.{name}"] = spread(one, places, len(truths))


def add_intervals(scored: Scored, truths: Sequence[Truth], config: ScoreConfig) -> None:
    """Add to the scores the interval of each measure, or the reason why it is missing."""
    clusters = Clusters.of([truth.recordings for truth in _by_id(truths)])
    for name, (values, counts) in scored.measures.items():
        try:
            ends = interval(
                values,
                clusters,
                counts,
                level=config.level,
                resamples=config.resamples,
                seed=config.seed,
                within=(0.0, highest(name)),
            )
        except TooFewRecordings as error:
            scored.scores["missing"][f"intervals.{name}"] = str(error)
        else:
            if ends.low < ends.high:
                scored.scores["intervals"][name] = [ends.low, ends.high]
            else:
                scored.scores["missing"][f"intervals.{name}"] = (
                    "every example scores the same, and resampling equal scores says nothing of "
                    "how sure that is"
                )


def _by_id(truths: Sequence[Truth]) -> list[Truth]:
    return sorted(truths, key=lambda truth: truth.id)


def _rounded(value: Any, key: str) -> Any:
    match value:
        case Mapping():
            return {name: _rounded(inner, f"{key}.{name}") for name, inner in value.items()}
        case list() | tuple():
            return [_rounded(inner, f"{key}[{place}]") for place, inner in enumerate(value)]
        case float():
            if not math.isfinite(value):
                raise ValueError(f"the score {key.lstrip('.')} is {value}")
            return round(value, DECIMALS) + 0.0
        case _:
            return value
