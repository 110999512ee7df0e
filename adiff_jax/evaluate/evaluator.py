"""Exact evaluation: every example once, keyed by id, the same answers on any number of processes.

Each process decodes its rows of every batch and drops the padding; the rows meet over the network,
and their ids must be those of the data set, each once, before anything is scored.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from adiff_jax.data.schema import Arrays, Truth
from adiff_jax.evaluate.gather import Gather, Row, alone
from adiff_jax.evaluate.predictions import Prediction


@dataclass(frozen=True)
class Generated:
    """What decoding gives for one row: token ids, their text, their summed log-probability."""

    tokens: tuple[int, ...]
    text: str
    logprob: float


def evaluate(
    decode: Callable[[Arrays], list[Generated]],
    batches: Iterable[Arrays],
    truths: Sequence[Truth],
    *,
    process: int = 0,
    processes: int = 1,
    gather: Gather = alone,
) -> list[Prediction]:
    """Decode a data set and return all its predictions, sorted by id, on every process.

    Args:
        decode: arrays of a batch -> one `Generated` for each of this process's rows, padding
            included. A collective where the model is sharded, so every process must yield the
            same number of batches.
        batches: this process's rows: at least `valid` [b] bool and `example_id` [b] int32, an
            index into `truths`. Rows with `valid` False are padding and are dropped.
        truths: the whole data set.
        gather: rows of this process -> rows of all processes.

    Raises:
        ValueError: naming them, when examples were decoded twice or not at all, when an
            example_id lies outside the data set, or when `decode` gives a wrong number of rows.
    """
    rows: list[Row] = []
    bar = tqdm(
        total=math.ceil(len(truths) / processes),
        desc="evaluate",
        unit="example",
        disable=None if process == 0 else True,
    )
    with bar:
        for batch in batches:
            valid = np.asarray(batch["valid"], bool)
            generated = decode(batch)
            if len(generated) != len(valid):
                raise ValueError(f"decode gave {len(generated)} rows for a batch of {len(valid)}")
            for place in np.flatnonzero(valid):
                example = int(batch["example_id"][place])
                if not 0 <= example < len(truths):
                    raise ValueError(f"example_id {example} lies outside 0..{len(truths) - 1}")
                rows.append({"example": example, **_as_row(generated[place])})
            bar.update(int(valid.sum()))
    predictions = [_predict(truths[row["example"]], row) for row in gather(rows)]
    check_ids(predictions, truths)
    return sorted(predictions, key=lambda prediction: prediction.id)


def check_ids(predictions: Sequence[Prediction], truths: Sequence[Truth]) -> None:
    """Raise ValueError, listing them, unless predictions and data set hold the same ids once."""
    expected = Counter(truth.id for truth in truths)
    repeated = [id for id, count in expected.items() if count > 1]
    if repeated:
        raise ValueError(f"the data set holds {_some(repeated)} more than once")
    answered = Counter(prediction.id for prediction in predictions)
    problems = {
        "missing": [id for id in expected if id not in answered],
        "more than once": [id for id, count in answered.items() if count > 1],
        "not in the data set": [id for id in answered if id not in expected],
    }
    found = "; ".join(f"{name}: {_some(ids)}" for name, ids in problems.items() if ids)
    if found:
        raise ValueError(
            f"{len(predictions)} predictions do not match the {len(truths)} examples: {found}"
        )


def _as_row(generated: Generated) -> Row:
    """Plain Python values, which every gather can carry."""
    return {
        "tokens": [int(token) for token in generated.tokens],
        "text": generated.text,
        "logprob": float(generated.logprob),
    }


def _predict(truth: Truth, row: Row) -> Prediction:
    return Prediction(
        id=truth.id,
        text=row["text"],
        tokens=tuple(row["tokens"]),
        logprob=row["logprob"],
        references=truth.references,
        prompt=truth.prompt,
        tier=truth.tier,
    )


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(sorted(ids)[:10])
    return shown if len(ids) <= 10 else f"{shown}, ... ({len(ids)} in all)"
