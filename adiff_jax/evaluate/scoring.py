"""Predictions and truths -> the nested scores of `metrics.json`.

    {"count", "tokenization",
     "captions":   {"bleu_1" ... "cider_d", ...},
     "structured": {"operation": {"accuracy"}, "event": {"accuracy", "count"}, ...},
     "intervals":  {"structured.operation.accuracy": [low, high], ...},
     "missing":    {"captions.spice": "why", ...},
     "baselines":  {"nearest": the same again, ...}}

What cannot be scored is absent and named under "missing"; nothing is scored as zero for that.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from adiff_jax.data.schema import Truth
from adiff_jax.evaluate import structured
from adiff_jax.evaluate.captions import (
    CaptionConfig,
    MetricError,
    caption_scores,
    missing_metrics,
)
from adiff_jax.evaluate.evaluator import check_ids
from adiff_jax.evaluate.intervals import Clusters, TooFewRecordings, interval
from adiff_jax.evaluate.predictions import Prediction, write_whole
from adiff_jax.evaluate.structured import Measure, ReadEdits

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
    return HIGHEST.get(name, 1.0)


class Scored(NamedTuple):
    """One system on one data set: its scores, and the measures behind them by dotted name, each
    [n] in the order of id over the whole data set (pairs that a measure leaves out count 0)."""

    scores: dict[str, Any]
    measures: dict[str, Measure]


def score(
    predictions: Sequence[Prediction],
    truths: Sequence[Truth],
    config: ScoreConfig,
    *,
    read_edits: ReadEdits | None = None,
    baselines: Mapping[str, Sequence[Prediction]] | None = None,
) -> dict[str, Any]:
    """Everything that `metrics.json` holds, in the form of the module docstring.

    `read_edits` turns a sentence into a program for the structured scores. References and programs
    are those of `truths`, whatever a prediction file says. Raises ValueError when ids differ, and
    MetricError when a required metric cannot run or fails.
    """
    systems = {"": predictions, **(baselines or {})}
    results = {}
    for name, answers in systems.items():
        scored = measure(answers, truths, config, read_edits=read_edits)
        add_intervals(scored, truths, config)
        results[name] = scored.scores
    result = results.pop("")
    return {**result, "baselines": results} if baselines else result


def measure(
    predictions: Sequence[Prediction],
    truths: Sequence[Truth],
    config: ScoreConfig,
    *,
    read_edits: ReadEdits | None = None,
) -> Scored:
    """Score one system without intervals."""
    check_ids(predictions, truths)
    truths = _by_id(truths)
    texts = [prediction.text for prediction in sorted(predictions, key=lambda row: row.id)]
    scored = Scored({"count": len(truths), "intervals": {}, "missing": {}}, {})
    _measure_captions(scored, texts, truths, config.captions)
    _measure_structure(scored, texts, truths, read_edits)
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
    write_whole(path, json.dumps(rounded, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


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


def _measure_structure(
    scored: Scored, texts: Sequence[str], truths: Sequence[Truth], read_edits: ReadEdits | None
) -> None:
    missing = scored.scores["missing"]
    known = [place for place, truth in enumerate(truths) if truth.edits is not None]
    if read_edits is None or not known:
        missing["structured"] = (
            "the true edits of no example are known" if read_edits else "no reader of edits"
        )
        return
    if len(known) < len(truths):
        missing["structured.count"] = f"the true edits of {len(truths) - len(known)} are unknown"
    said = [texts[place] for place in known]
    answers = structured.read_answers(said, [truths[i].edits or () for i in known], read_edits)
    scores = structured.counts(answers, said)
    for name, (values, counts) in structured.measures(answers).items():
        group, key = name.split(".")
        if counts.sum() == 0:
            missing[f"structured.{name}"] = "it applies to no example"
            continue
        scores.setdefault(group, {})[key] = float(values.sum() / counts.sum())
        scored.measures[f"structured.{name}"] = Measure(
            _spread(values, known, len(truths)), _spread(counts, known, len(truths))
        )
    scored.scores["structured"] = scores


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


def _spread(values: np.ndarray, places: Sequence[int], length: int) -> np.ndarray:
    """`values` at `places` of zeros [length]."""
    result = np.zeros(length)
    result[list(places)] = values
    return result


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
