"""The evaluation that training calls: losses, sentences and controls on the validation source.

Scores are flat names for the log and for choosing the best checkpoint: `validation/loss/caption`,
`validation/program.exact`, `validation/operation.accuracy`, `validation/mAP`, of explanations
`validation/events.f1` and, with several tiers in one source, `validation/tier_1/events.f1`, ...,
of captions of single clips `validation/sounds.events.f1`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from adiff_jax.arrays import Batch, Term
from adiff_jax.data.pipeline import load_row
from adiff_jax.data.schema import Arrays, Source, Truth
from adiff_jax.data.synth.captions import read_edits
from adiff_jax.data.synth.tier_reader import named_sounds, read_explanation
from adiff_jax.decode.sampling import Greedy
from adiff_jax.disentanglement import disentanglement_controls
from adiff_jax.evaluate import clip_sounds, explanations, structured
from adiff_jax.evaluate.evaluator import evaluate
from adiff_jax.evaluate.explanations import Readers, asks_for_caption, can_judge
from adiff_jax.evaluate.gather import gather_each, gather_objects
from adiff_jax.evaluate.structured import Answer
from adiff_jax.evaluate.tagging import tagging_scores
from adiff_jax.models.tagger import TaggerModel
from adiff_jax.objectives import Captioning, LanguageModelling, Tagging, matching_controls
from adiff_jax.parallel.mesh import local_rows
from adiff_jax.parts import Parts
from adiff_jax.protocol import Variables
from adiff_jax.train.state import TrainState

Scores = dict[str, float]


def validation(parts: Parts, source: Source) -> Callable[[TrainState, int], Mapping[str, float]]:
    """The evaluation callable of `train.loop.fit` on a validation source."""

    parts.check_evaluation()
    # Refuses now what validation would refuse after the first steps.
    load_row(source, parts.encode_with_targets(source), 0)
    # Once: made explanations of tier 2 and 3 state what is measured on their audio.
    explained = isinstance(parts.objective, Captioning)
    truths = [source.truth(index) for index in range(len(source))] if explained else []

    def validate(state: TrainState, step: int) -> Mapping[str, float]:
        del step
        match parts.objective:
            case Captioning():
                scores = _captioning(parts, source, truths, state.variables)
            case LanguageModelling():
                scores = language(parts, source, state.variables)
            case Tagging():
                _, _, scores = tag(parts, source, state.variables)
        return {f"validation/{name}": value for name, value in scores.items()}

    return validate


def _captioning(
    parts: Parts, source: Source, truths: Sequence[Truth], variables: Variables
) -> Scores:
    batches = list(parts.rows(source, targets=True))
    objective = parts.objective
    if not isinstance(objective, Captioning):
        raise TypeError(f"{type(objective).__name__} generates no sentences")
    scores = term_means(_terms(objective, variables, parts.to_batch(rows)) for rows in batches)
    predictions = evaluate(
        parts.decoder(variables, Greedy()),
        batches,
        truths,
        process=jax.process_index(),
        processes=jax.process_count(),
        gather=gather_objects,
    )
    said = {prediction.id: prediction.text for prediction in predictions}
    return scores | sentence_scores([said[truth.id] for truth in truths], truths)


def language(parts: Parts, source: Source, variables: Variables) -> Scores:
    """Cross-entropy and perplexity of a token of the texts of a source."""
    terms = partial(_terms, parts.objective, variables)
    found = term_means(terms(parts.to_batch(rows)) for rows in parts.rows(source, targets=True))
    return found | {"perplexity": math.exp(found["loss/language"])}


def sentence_scores(texts: Sequence[str], truths: Sequence[Truth]) -> Scores:
    """What sentences score by the edits they state and, at tier 1 to 3, by the sounds they name:
    flat names, and under "tier_1/" and so on as well where there are several tiers.

    As in `evaluate.scoring`, rows that ask for the caption of a clip are left out.
    """
    readers = readers_of(truths)
    rows = [row for row in zip(texts, truths, strict=True) if not asks_for_caption(row[1])]
    scores = _ratios(rows, readers)
    tiers = sorted({truth.tier for _, truth in rows})
    for tier in tiers if len(tiers) > 1 else ():
        alone = _ratios([row for row in rows if row[1].tier == tier], readers)
        scores |= {f"tier_{tier}/{name}": value for name, value in alone.items()}
    return scores


def _ratios(rows: Sequence[tuple[str, Truth]], readers: Readers) -> Scores:
    answers = [
        Answer(frozenset(truth.edits), readers.program(text, truth))
        for text, truth in rows
        if truth.edits is not None
    ]
    judged = [row for row in rows if can_judge(row[1])]
    clips = [row for row in rows if clip_sounds.can_judge(row[1])]
    explained = explanations.measures(
        [text for text, _ in judged], [truth for _, truth in judged], readers.explanation
    )
    captioned = clip_sounds.measures(
        [text for text, _ in clips], [truth for _, truth in clips], readers.sounds
    )
    captioned = {f"sounds.{name}": found for name, found in captioned.items()}
    return {
        name: float(values.sum() / counts.sum())
        for name, (values, counts) in (structured.measures(answers) | explained | captioned).items()
        if counts.sum()
    }


def readers_of(truths: Sequence[Truth]) -> Readers:
    """The readers of sentences that also know the labels of these examples."""
    labels: set[str] = set()
    for truth in truths:
        labels |= {label for edit in truth.edits or () for label in (edit.event, edit.replacement)}
        labels |= {label for heard in truth.heard or () for label in heard}
        labels |= set(truth.backgrounds or ())
    known = tuple(sorted(labels - {""}))
    return Readers(
        edits=partial(read_edits, extra_labels=known),
        explanation=partial(read_explanation, labels=known),
        sounds=partial(named_sounds, labels=known),
    )


@partial(jax.jit, static_argnames="objective")
def _terms(
    objective: Captioning | LanguageModelling, variables: Variables, batch: Batch
) -> dict[str, Term]:
    """Loss terms and metrics in evaluation mode, with the controls of SDD and of the matching loss
    where these are on."""
    terms, _, metrics = objective.loss(variables, batch, {}, False)
    found = {f"loss/{name}": term for name, term in terms.items()} | metrics
    if isinstance(objective, Captioning):
        if objective.sdd.stage != "off":
            found |= disentanglement_controls(objective.module, variables, batch)
        found |= matching_controls(objective, variables, batch)
    return found


def term_means(found: Iterable[Mapping[str, Term]]) -> Scores:
    """Means of terms over batches: the sums of the sums over those of the weights."""
    sums: dict[str, np.ndarray] = {}
    for terms in found:
        for name, (value, weight) in terms.items():
            sums[name] = sums.get(name, np.zeros(2)) + np.array([value, weight], np.float64)
    return {name: float(total / weight) for name, (total, weight) in sums.items() if weight}


def tag(
    parts: Parts, source: Source, variables: Variables
) -> tuple[np.ndarray, np.ndarray, Scores]:
    """Scores [n c] and labels [n c] of every clip of a source, and mAP."""
    rows: list[dict[str, list[float] | int]] = []
    for arrays in parts.rows(source):
        logits = _tag_logits(parts.objective.module, variables, parts.to_batch(arrays))
        rows += _tag_rows(arrays, local_rows(logits, parts.mesh))
    found = gather_each(rows, len(source))
    scores = np.array([row["scores"] for row in found])
    labels = np.array([row["labels"] for row in found])
    return scores, labels, {"mAP": tagging_scores(scores, labels, parts.classes)["mAP"]}


@partial(jax.jit, static_argnames="module")
def _tag_logits(module: TaggerModel, variables: Variables, batch: Batch) -> Any:
    return module.apply(variables, batch)


def _tag_rows(arrays: Arrays, logits: np.ndarray) -> list[dict[str, list[float] | int]]:
    return [
        {
            "id": int(arrays["example_id"][place]),
            "scores": logits[place].tolist(),
            "labels": arrays["labels"][place].tolist(),
        }
        for place in np.flatnonzero(arrays["valid"])
    ]
