"""`adiff evaluate`: the answers of a trained run, or of any other system, and their scores.

Writes `predictions/SPLIT.jsonl`, the scores beside it, and `metrics.json`, the latest scores. A
decoding strategy other than the experiment's own has files of its own: `SPLIT.beam_4.jsonl`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from adiff_jax.arrays import Batch
from adiff_jax.attention_span import attention_on_edits
from adiff_jax.clip_similarity import pair_similarity
from adiff_jax.data.schema import Arrays, Source, Truth, coverage_of
from adiff_jax.data.sources import RecipeFile
from adiff_jax.data.synth.made import EditedPairs
from adiff_jax.data.transforms import fair_caption
from adiff_jax.decode.generate import parse_strategy
from adiff_jax.evaluate import baselines, structured
from adiff_jax.evaluate.captions import CaptionConfig, Metric
from adiff_jax.evaluate.evaluator import evaluate
from adiff_jax.evaluate.explanations import asks_for_caption
from adiff_jax.evaluate.gather import gather_each, gather_objects
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
from adiff_jax.experiment import ConfigError, Split
from adiff_jax.frozen_encoder import check_caches
from adiff_jax.models.adc import AdcModel
from adiff_jax.models.tagger import Tagger
from adiff_jax.parallel.mesh import local_rows
from adiff_jax.parts import Parts, note_unsayable, open_data
from adiff_jax.protocol import Variables
from adiff_jax.run import Trained
from adiff_jax.validate import readers_of, tag

RETRIEVAL_EXAMPLES = 1024
"""Training pairs, the first ones, that the baselines know at most."""


@dataclass(frozen=True)
class Answering:
    """How to answer: `decode` as in `decode.generate.parse_strategy`; "" is the experiment's own.

    `require` names metrics that must not be missing ("spice").
    """

    decode: str = ""
    require: tuple[Metric, ...] = ()


def with_recipe(trained: Trained, path: str, folder: str) -> tuple[Trained, str]:
    """The run with a test split more, and its name: a recipe file over the recordings in `folder`.

    The split is called after the file. Raises ConfigError when the experiment has a split of that
    name, whose answers would be overwritten, and for a tagger.
    """
    parts, name = trained.parts, epath.Path(path).stem
    experiment, data = parts.experiment, parts.experiment.data
    if isinstance(experiment.model, Tagger):
        raise ConfigError("--recipe: recipe files hold pairs, a tagger is scored on single clips")
    if name in ("train", "validation", *(split.name for split in data.test)):
        raise ConfigError(
            f"--recipe: {experiment.name} has a split {name!r} of its own; rename {path}"
        )
    split = Split(name, RecipeFile(path, folder, data.encode.rate))
    experiment = replace(experiment, data=replace(data, test=(*data.test, split)))
    return replace(trained, parts=replace(parts, experiment=experiment)), name


def answer(trained: Trained, split: str, config: Answering) -> dict[str, Any]:
    """Answer a split with a run, write predictions and scores, and return the scores.

    Without the training data there are no baselines, and `missing` says why. Raises MetricError
    when a required metric fails, and before anything is decoded when it cannot run.
    """
    parts, name = trained.parts, split
    config_of_split = parts.experiment.split(split)
    source = open_data(config_of_split)
    check_caches((config_of_split,), parts.experiment, lambda: trained.variables)
    if isinstance(parts.experiment.model, Tagger):
        if config.decode or config.require:
            raise ConfigError(
                f"{trained.directory.path} is a tagger, which says nothing: leave out "
                f"{'--decode' if config.decode else '--require'}"
            )
        scores, labels, _ = tag(parts, source, trained.variables)
        metrics: dict[str, Any] = {"tagging": tagging_scores(scores, labels, parts.classes)}
    else:
        truths = truths_of(source)
        if parts.tokenizer is not None:
            said = (text for truth in truths for text in truth.references)
            note_unsayable(parts.tokenizer, split, said)
        decode = config.decode or parts.experiment.evaluation.decode
        if decode != parts.experiment.evaluation.decode:
            name = f"{split}.{decode.replace(':', '_').replace(',', '_')}"
        check_required(truths, CaptionConfig(require=config.require))
        without_training = _training_missing(trained)
        predictions = sentences(trained, source, decode, truths=truths)
        backward = sentences(trained, source, decode, swap=True, truths=truths)
        if jax.process_index() == 0:
            trained.directory.predictions.mkdir(parents=True, exist_ok=True)
            write_predictions(trained.directory.predictions / f"{name}.jsonl", predictions)
        known = None if without_training else _known(trained)
        others = {} if known is None else _baselines(trained, source, known)
        similarity, unknown = pair_similarity(parts, trained.variables, source, truths)
        found = _score(truths, predictions, config, others, similarity)
        metrics = {**found, "decode": decode}
        if unknown:
            metrics["missing"]["similarity"] = unknown
        if known is None:
            metrics["missing"]["baselines"] = without_training
        else:
            metrics["retrieval_examples"] = len(known)
        if "structured" in metrics:
            both = _consistency(truths, predictions, backward)
            consistency = float(both.values.sum() / both.counts.sum())
            metrics["structured"]["swap"] = {"consistent": consistency}
            measured = Scored(metrics, {"structured.swap.consistent": both})
            add_intervals(measured, truths, ScoreConfig())
        if isinstance(source, EditedPairs):
            looked = attention_on_edits(parts, trained.variables, parts.rows(source), source)
            if looked is not None:
                metrics["attention"] = {"edited_span": looked}
    metrics |= {"split": split, "checkpoint": trained.step, **_coverage(source)}
    if jax.process_index() == 0:
        trained.directory.predictions.mkdir(parents=True, exist_ok=True)
        write_metrics(trained.directory.predictions / f"{name}.metrics.json", metrics)
        write_metrics(trained.directory.metrics, metrics)
    return metrics


def score_file(
    trained: Trained, split: str, path: epath.PathLike, config: Answering
) -> dict[str, Any]:
    """Scores of another system's answers to the same examples; nothing is written."""
    if isinstance(trained.parts.experiment.model, Tagger):
        raise ConfigError(f"{trained.directory.path} is a tagger: sentences do not answer it")
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


def truths_of(source: Source) -> list[Truth]:
    """References and edits of every example."""
    return [source.truth(index) for index in range(len(source))]


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


def _known(trained: Trained) -> "First":
    """The training pairs that the baselines know."""
    training = open_data(trained.parts.experiment.data.train)
    return First(training, min(RETRIEVAL_EXAMPLES, len(training)))


def _baselines(trained: Trained, source: Source, known: "First") -> dict[str, Sequence[Prediction]]:
    """The most frequent caption of the training pairs `known`, and one of the nearest of them."""
    captions = [fair_caption(truth.id, truth.references) for truth in truths_of(known)]
    truths = truths_of(source)
    said = (text for truth in truths_of(known) for text in truth.references)
    return {
        "most frequent": baselines.most_frequent(said, truths),
        "nearest": baselines.nearest(
            embeddings(trained.parts, trained.variables, source),
            truths,
            embeddings(trained.parts, trained.variables, known),
            captions,
        ),
    }


@dataclass(frozen=True)
class First:
    """The first `count` examples of a source."""

    source: Source
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.source[index]

    def truth(self, index: int) -> Truth:
        return self.source.truth(index)

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
def _embed(module: AdcModel, variables: Variables, batch: Batch) -> jax.Array:
    found: Any = module.apply(variables, batch, method="encode")
    weight = found.memory_mask[:, :, None]
    return (found.memory * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1)
