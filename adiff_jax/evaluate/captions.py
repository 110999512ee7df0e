"""The caption metrics of one system, and word of those that cannot be had.

A metric that cannot run, or fails, is absent from the scores and present, with its reason, in
`missing`; there is never a zero in its place, and a metric that is required fails instead.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from adiff_jax.evaluate import metrics
from adiff_jax.evaluate.java import java_missing, meteor
from adiff_jax.evaluate.spice import spice, spice_missing
from adiff_jax.evaluate.tokenization import Tokenization, tokenize

Metric = Literal["bleu", "rouge_l", "cider_d", "meteor", "spice"]


class MetricError(RuntimeError):
    """A metric that is required cannot run, or has failed; the message says why."""


@dataclass(frozen=True)
class CaptionConfig:
    """Which caption metrics, and on which words.

    `tokenization` "auto" is "ptb" where Java and pycocoevalcap are there, else "plain". SPICE
    brings SPIDEr, the mean of SPICE and CIDEr-D, where CIDEr-D is asked for too. A metric of
    `require` that cannot run, or fails while it runs, is an error, and so is "ptb" without Java.
    """

    metrics: tuple[Metric, ...] = ("bleu", "rouge_l", "cider_d", "meteor", "spice")
    tokenization: Literal["auto", "ptb", "plain"] = "auto"
    require: tuple[Metric, ...] = ()


class CaptionScores(NamedTuple):
    """Corpus scores by name; per-example scores [n] of those that are means of them; why others
    are missing; the tokenisation that was used."""

    corpus: dict[str, float]
    examples: dict[str, np.ndarray]
    missing: dict[str, str]
    tokenization: Tokenization


def caption_scores(
    texts: Sequence[str], references: Sequence[Sequence[str]], config: CaptionConfig
) -> CaptionScores:
    """Score `texts` against their references, one or more for each.

    Without metrics to compute nothing is tokenised, and all is empty.

    Raises MetricError when something required cannot run, or fails.
    """
    tokenization = _choose_tokenization(config)
    missing = missing_metrics(config)
    if not config.metrics:
        return CaptionScores({}, {}, missing, tokenization)
    flat = tokenize([*texts, *(text for choices in references for text in choices)], tokenization)
    words, rest = flat[: len(texts)], iter(flat[len(texts) :])
    choices = [[next(rest) for _ in texts_of_one] for texts_of_one in references]

    corpus: dict[str, float] = {}
    examples: dict[str, np.ndarray] = {}
    wanted = [metric for metric in config.metrics if metric not in missing]
    if "bleu" in wanted:
        for order, score in enumerate(metrics.bleu(words, choices), 1):
            corpus[f"bleu_{order}"] = score
    if "rouge_l" in wanted:
        examples["rouge_l"] = metrics.rouge_l(words, choices)
    if "cider_d" in wanted:
        examples["cider_d"] = metrics.cider_d(words, choices)
    if "meteor" in wanted or "spice" in wanted:
        joined = [" ".join(sentence) for sentence in words]
        joined_choices = [[" ".join(sentence) for sentence in one] for one in choices]
        if "meteor" in wanted:
            with _may_fail("meteor", config, missing):
                corpus["meteor"] = meteor(joined, joined_choices)
        if "spice" in wanted:
            with _may_fail("spice", config, missing):
                examples["spice"] = spice(joined, joined_choices)
    if "spice" in missing and "cider_d" in config.metrics:
        missing["spider"] = "needs SPICE"
    elif "spice" in examples and "cider_d" in examples:
        examples["spider"] = (examples["spice"] + examples["cider_d"]) / 2
    corpus |= {name: float(values.mean()) for name, values in examples.items()}
    return CaptionScores(corpus, examples, missing, tokenization)


@contextmanager
def _may_fail(metric: Metric, config: CaptionConfig, missing: dict[str, str]) -> Iterator[None]:
    """A failure is the reason in `missing`, or MetricError where the metric is required."""
    try:
        yield
    except (RuntimeError, OSError) as error:  # of Java, which was there and began
        if metric in config.require:
            raise MetricError(f"{metric} is required but failed: {error}") from error
        missing[metric] = f"it failed: {error}"


def _choose_tokenization(config: CaptionConfig) -> Tokenization:
    if config.tokenization == "auto":
        return "plain" if java_missing() else "ptb"
    if config.tokenization == "ptb" and java_missing():
        raise MetricError(f"the PTB tokenisation cannot run: {java_missing()}")
    return config.tokenization


def missing_metrics(config: CaptionConfig) -> dict[str, str]:
    """Why metrics of `config` cannot run here, by name; MetricError for a required one."""
    missing: dict[str, str] = {}
    checks: dict[str, Callable[[], str | None]] = {"meteor": java_missing, "spice": spice_missing}
    for metric in dict.fromkeys((*config.metrics, *config.require)):
        if metric not in config.metrics:
            raise MetricError(f"{metric} is required but not among the metrics to compute")
        reason = checks[metric]() if metric in checks else None
        if reason is not None:
            if metric in config.require:
                raise MetricError(f"{metric} is required but cannot run: {reason}")
            missing[metric] = reason
    return missing
