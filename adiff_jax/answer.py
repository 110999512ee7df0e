"""`adiff evaluate`: the answers of a trained run, or of any other system, and their scores.

Writes `predictions/SPLIT.jsonl`, the scores beside it, and `metrics.json`, the latest scores. A
decoding strategy other than the experiment's own has files of its own, `SPLIT.beam_4.jsonl`; so has
hearing all of long recordings, `SPLIT.windows.jsonl`, and so has a control,
`SPLIT.zero_prefix.jsonl`, which leaves `metrics.json` alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import numpy as np
from etils import epath

from adiff_jax.attention_span import attention_on_edits
from adiff_jax.clip_similarity import pair_similarity
from adiff_jax.clip_tags import score_warnings
from adiff_jax.controls import Control, under_control
from adiff_jax.data.schema import Arrays, Source, Truth, coverage_of
from adiff_jax.data.synth.made import EditedPairs
from adiff_jax.decode.generate import parse_strategy
from adiff_jax.evaluate import structured
from adiff_jax.evaluate.captions import CaptionConfig, Metric
from adiff_jax.evaluate.evaluator import evaluate
from adiff_jax.evaluate.explanations import asks_for_caption
from adiff_jax.evaluate.gather import gather_objects
from adiff_jax.evaluate.measuring import Scored
from adiff_jax.evaluate.predictions import Prediction, read_predictions, write_predictions
from adiff_jax.evaluate.scoring import (
    ScoreConfig,
    add_intervals,
    check_required,
    score,
    write_metrics,
)
from adiff_jax.evaluate.structured import Measure
from adiff_jax.evaluate.tagging import tagging_scores
from adiff_jax.evaluate.unsupported import remember
from adiff_jax.experiment import ConfigError
from adiff_jax.frozen_encoder import check_caches
from adiff_jax.known_pairs import answer_like, known_pairs, truths_of
from adiff_jax.listening import hear_whole
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.models.tagger import Tagger
from adiff_jax.opened import open_data, open_for
from adiff_jax.parts import note_unsayable
from adiff_jax.run import Trained
from adiff_jax.validate import language, readers_of, tag


@dataclass(frozen=True)
class Answering:
    """How to answer: `decode` as in `decode.generate.parse_strategy`; "" is the experiment's own.

    `require` names metrics that must not be missing ("spice"). Under a `control` the clips are not
    heard (`adiff_jax.controls`), and only the sentences themselves are scored. `windows` hears all
    of recordings longer than the model's window, by the mean of their windows' embeddings.
    """

    decode: str = ""
    require: tuple[Metric, ...] = ()
    control: Control | None = None
    windows: bool = False


def answer(trained: Trained, split: str, config: Answering) -> dict[str, Any]:
    """Answer a split with a run, write predictions and scores, and return the scores.

    Without the training data, and under a control, there are no baselines, and `missing` says why.
    Raises MetricError when a required metric fails, and before anything is decoded when it cannot
    run; ConfigError for a control or for windows that mean nothing to the model.
    """
    parts, name = trained.parts, split
    _check_windows(trained, config)
    if config.control and isinstance(parts.experiment.model, Adc | Adiff | Cl4ac):
        parts, variables = under_control(parts, trained.variables, split, config.control)
        trained = replace(trained, parts=parts, variables=variables)
        name += f".{config.control.replace('-', '_')}"
    config_of_split = parts.experiment.split(split)
    source = open_for(parts.experiment.model, config_of_split)
    if parts.clips:
        check_caches((config_of_split,), parts.experiment, lambda: trained.variables)
    if isinstance(parts.experiment.model, LanguageModel):
        _says_nothing(trained, "a language model by itself", config)
        metrics: dict[str, Any] = {"language": language(parts, source, trained.variables)}
    elif isinstance(parts.experiment.model, Tagger):
        _says_nothing(trained, "a tagger", config)
        scores, labels, _ = tag(parts, source, trained.variables)
        metrics = {"tagging": tagging_scores(scores, labels, parts.classes)}
    else:
        truths = truths_of(source)
        if parts.tokenizer is not None:
            references = (text for truth in truths for text in truth.references)
            note_unsayable(parts.tokenizer, split, references)
        decode = config.decode or parts.experiment.evaluation.decode
        if decode != parts.experiment.evaluation.decode:
            name += f".{decode.replace(':', '_').replace(',', '_')}"
        check_required(truths, CaptionConfig(require=config.require))
        if config.windows:
            name += ".windows"
            source = hear_whole(parts, trained.variables, source)
        alone = f"answered under {config.control}" if config.control else _training_missing(trained)
        predictions = sentences(trained, source, decode, truths=truths)
        if jax.process_index() == 0:
            trained.directory.predictions.mkdir(parents=True, exist_ok=True)
            write_predictions(trained.directory.predictions / f"{name}.jsonl", predictions)
        known = None if alone else known_pairs(parts, truths)
        others = {} if known is None else answer_like(parts, trained.variables, source, known)
        similarity, unknown = None, alone
        if not config.control:
            similarity, unknown = pair_similarity(parts, trained.variables, source, truths)
        found = _score(truths, predictions, config, others, similarity)
        metrics = {**found, "decode": decode}
        if config.windows:
            metrics["windows"] = True
        if unknown:
            metrics["missing"]["similarity"] = unknown
        if known is None:
            metrics["missing"]["baselines"] = alone or "no training example is asked the same"
        else:
            metrics["retrieval_examples"] = len(known)
        if "structured" in metrics:
            backward = sentences(trained, source, decode, swap=True, truths=truths)
            both = _consistency(truths, predictions, backward)
            consistency = float(both.values.sum() / both.counts.sum())
            metrics["structured"]["swap"] = {"consistent": consistency}
            measured = Scored(metrics, {"structured.swap.consistent": both})
            add_intervals(measured, truths, ScoreConfig())
        if not config.control:
            said = {row.id: row.text for row in predictions}
            texts = [said[truth.id] for truth in truths]
            warnings, unmeasured = score_warnings(parts, trained.variables, source, texts, truths)
            metrics["missing"] |= unmeasured
            metrics |= {"unsupported": warnings} if warnings else {}
        if isinstance(source, EditedPairs) and isinstance(parts.experiment.model, Adc):
            looked = attention_on_edits(parts, trained.variables, parts.rows(source), source)
            if looked is not None:
                metrics["attention"] = {"edited_span": looked}
    if config.control:
        metrics["control"] = config.control
    metrics |= {"split": split, "checkpoint": trained.step, **_coverage(source)}
    if jax.process_index() == 0:
        trained.directory.predictions.mkdir(parents=True, exist_ok=True)
        write_metrics(trained.directory.predictions / f"{name}.metrics.json", metrics)
        if not config.control:
            write_metrics(trained.directory.metrics, metrics)
        if "unsupported" in metrics and name == split:  # as users are answered, each split once
            remember(trained.directory.unsupported, trained.step, split, metrics["unsupported"])
    return metrics


def _check_windows(trained: Trained, config: Answering) -> None:
    """Raise ConfigError for windows of a model that hears one only."""
    model = trained.parts.experiment.model
    if config.windows and not isinstance(model, Adiff):
        raise ConfigError(
            f"--windows: {trained.directory.path} trained {type(model).__name__}, which hears one "
            "window of a clip; only ADIFF, which hears a clip as one vector, can average several"
        )


def _says_nothing(trained: Trained, what: str, config: Answering) -> None:
    """Raise ConfigError for options of sentences."""
    given = {"decode": config.decode, "require": config.require, "control": config.control}
    for option in (name for name, value in given.items() if value):
        raise ConfigError(
            f"{trained.directory.path} is {what}, which says nothing: leave out --{option}"
        )


def score_file(
    trained: Trained, split: str, path: epath.PathLike, config: Answering
) -> dict[str, Any]:
    """Scores of another system's answers to the same examples; nothing is written."""
    if isinstance(trained.parts.experiment.model, Tagger | LanguageModel):
        what = "a tagger" if trained.parts.clips else "a language model"
        raise ConfigError(f"{trained.directory.path} is {what}: sentences do not answer it")
    source = open_data(trained.parts.experiment.split(split))
    scores = _score(truths_of(source), read_predictions(path), config, {})
    return scores | {"split": split, **_coverage(source)}


def sentences(
    trained: Trained,
    source: Source,
    decode: str,
    swap: bool = False,
    truths: Sequence[Truth] | None = None,
) -> list[Prediction]:
    """The best sentence for every example; with `swap`, of the clips in the other order. `truths`
    are those of `source` where they are at hand: some sources make audio for them."""
    batches = trained.parts.rows(source)
    return evaluate(
        trained.parts.decoder(trained.variables, parse_strategy(decode)),
        map(swapped, batches) if swap else batches,
        truths_of(source) if truths is None else truths,
        process=jax.process_index(),
        processes=jax.process_count(),
        gather=gather_objects,
    )


def swapped(arrays: Arrays) -> Arrays:
    """The same rows with the clips exchanged."""
    names = {"1": "2", "2": "1"}
    return {
        f"{key[:-1]}{names[key[-1]]}" if key[-2:] in ("_1", "_2") else key: value
        for key, value in arrays.items()
    }


def _training_missing(trained: Trained) -> str:
    """Why the training data, which the baselines need, cannot be opened; "" when they can."""
    try:
        open_data(trained.parts.experiment.data.train)
    except (OSError, ValueError) as error:
        return f"the training data cannot be opened: {error}"
    return ""


def _coverage(source: Source) -> dict[str, Any]:
    """How much of a published split was scored, where the source knows."""
    coverage = coverage_of(source)
    return {} if coverage is None else {"coverage": asdict(coverage)}


def _score(
    truths: Sequence[Truth],
    predictions: Sequence[Prediction],
    config: Answering,
    others: dict[str, Sequence[Prediction]],
    similarity: dict[str, float] | None = None,
) -> dict[str, Any]:
    return score(
        predictions,
        truths,
        ScoreConfig(captions=CaptionConfig(require=config.require)),
        readers=readers_of(truths),
        baselines=others,
        similarity=similarity,
    )


def _consistency(
    examples: Sequence[Truth], forward: Sequence[Prediction], backward: Sequence[Prediction]
) -> Measure:
    """Whether swapping the clips inverts what is said; 0 of 0 where captions are asked for."""
    truths = {truth.id: truth for truth in examples}
    readers = readers_of(examples)
    there, back = (
        {row.id: readers.program(row.text, truths[row.id]) for row in said}
        for said in (forward, backward)
    )
    both = structured.swap_consistency(there, back)
    asked = np.array([not asks_for_caption(truths[id]) for id in sorted(truths)])
    return Measure(both.values * asked, both.counts * asked)
