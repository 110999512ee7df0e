"""Explanations of every pair of a table, one JSON object a line, resumable.

A line is written as soon as its batch is answered, so that what was interrupted goes on where it
stopped; pairs that are answered in the file are not asked again. A pair with a clip that cannot be
used gets a line with the reason, and is tried again the next time.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from adiff_jax.api import Explainer
from adiff_jax.audio.io import AudioError
from adiff_jax.text_files import read_text

EVENTS = 5  # the most likely ones of each clip are written


@dataclass(frozen=True)
class Row:
    """One pair of a table."""

    id: str
    first: str
    second: str


@dataclass
class Done:
    """What was done with a table."""

    answered: int = 0
    before: int = 0
    unusable: int = 0

    def __str__(self) -> str:
        earlier = f", {self.before} were there" if self.before else ""
        failed = f", {self.unusable} with a clip that cannot be used" if self.unusable else ""
        return f"{self.answered} pairs answered{earlier}{failed}"


def read_table(path: str) -> list[Row]:
    """The pairs of a CSV file with columns first, second and, if wanted, id (else the line).

    Paths are relative to the table's folder. Raises ValueError that names the line.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    columns = reader.fieldnames or []
    missing = [name for name in ("first", "second") if name not in columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}, only {', '.join(columns)}")
    rows, folder = [], Path(path).parent
    for entry in reader:
        clips = [entry["first"], entry["second"]]
        if not all(clips):
            raise ValueError(f"{path}, line {reader.line_num}: a pair needs two files")
        name = (entry.get("id") or "").strip() or str(reader.line_num)
        rows.append(Row(name, *(str(folder / clip.strip()) for clip in clips)))
    names = [row.id for row in rows]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: the id {repeated[0]!r} stands for more than one pair")
    return rows


def explain_table(
    explainer: Explainer, table: str, out: str, asked: Mapping[str, Any], batch: int = 8
) -> Done:
    """Answer the pairs of `table` that `out` has no answer to. `asked` is how; see
    `Explainer.many`.

    Raises ValueError for a table that cannot be read, and for an `out` that answers another
    question.
    """
    rows, done = read_table(table), Done()
    prompt = explainer.asked(asked["tier"], asked["caption"], asked["prompt"], asked["whole"])
    answered = _answered(Path(out), prompt)
    left = [row for row in rows if row.id not in answered]
    done.before = len(rows) - len(left)
    with open(out, "a") as lines, tqdm(total=len(left), unit="pair", disable=None) as bar:
        for start in range(0, len(left), batch):
            for line in _lines(explainer, left[start : start + batch], asked, batch, done):
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            lines.flush()
            bar.update(min(batch, len(left) - start))
    return done


def _answered(out: Path, prompt: str) -> set[str]:
    """Ids that `out` has answers to. A last line that was cut off is taken away."""
    if not out.exists():
        return set()
    text = out.read_text()
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        out.write_text(text)
    found = [json.loads(line) for line in text.splitlines()]
    other = sorted({line["prompt"] for line in found if line.get("prompt", prompt) != prompt})
    if other:
        raise ValueError(
            f"{out} holds answers to {other[0]!r}, not to {prompt!r}: choose another file"
        )
    return {line["id"] for line in found if "text" in line}


def _lines(
    explainer: Explainer, rows: Sequence[Row], asked: Mapping[str, Any], batch: int, done: Done
) -> list[dict[str, Any]]:
    waves: list[tuple[np.ndarray, np.ndarray]] = []
    kept: list[Row] = []
    lines: list[dict[str, Any]] = []
    for row in rows:
        try:
            waves.append((explainer.wave(row.first), explainer.wave(row.second)))
            kept.append(row)
        except AudioError as error:
            done.unusable += 1
            lines.append({"id": row.id, "error": str(error)})
    if not kept:
        return lines
    # A last batch is filled up, so that nothing is compiled for its size.
    filled = [*waves, *[waves[-1]] * (batch - len(waves))]
    for row, said in zip(kept, explainer.many(filled, **asked), strict=False):
        done.answered += 1
        lines.append(
            {
                "id": row.id,
                "first": row.first,
                "second": row.second,
                "prompt": said.prompt,
                "text": said.text,
                "logprob": round(said.score, 4),
                "events": [
                    {name: round(probability, 4) for name, probability in clip[:EVENTS]}
                    for clip in said.events
                ],
                "notes": list(said.notes),
            }
        )
    return lines
