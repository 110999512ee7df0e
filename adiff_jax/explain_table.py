"""Explanations of every pair (or clip) of a table, one JSON object a line, resumable.

A line is written as soon as its batch is answered, so that what was interrupted goes on where it
stopped; pairs that are answered in the file are not asked again. A pair with a clip that cannot be
used gets a line with the reason, and is tried again the next time.

A line says what was asked of which checkpoint, so that answers of one file are to one question.
"""

import csv
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from adiff_jax.api import Explainer
from adiff_jax.audio.io import AudioError
from adiff_jax.frozen_encoder import fingerprint
from adiff_jax.storage import local, write_below
from adiff_jax.text_files import read_text

EVENTS = 5  # the most likely ones of each clip are written


@dataclass(frozen=True)
class Row:
    """One pair of a table, its files as they are named there; or one clip, without a second."""

    id: str
    first: str
    second: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        return (self.first, self.second) if self.second else (self.first,)

    def as_json(self) -> dict[str, str]:
        """The beginning of its line."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass
class Done:
    """What was done with a table."""

    answered: int = 0
    before: int = 0
    unusable: int = 0

    def __str__(self) -> str:
        earlier = f", {self.before} were there" if self.before else ""
        failed = f", {self.unusable} with a clip that cannot be used" if self.unusable else ""
        return f"{self.answered} rows answered{earlier}{failed}"


def read_table(path: str, clips: int = 2) -> list[Row]:
    """The pairs of a CSV file with columns first, second and, if wanted, id (else the line); of one
    clip a row, with the column first alone.

    Raises ValueError that names the line.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    columns = reader.fieldnames or []
    wanted = ("first", "second")[:clips]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}, only {', '.join(columns)}")
    rows: dict[str, Row] = {}
    for entry in reader:
        first, second, name = ((entry.get(key) or "").strip() for key in ("first", "second", "id"))
        place = f"{path}, line {reader.line_num}"
        if not first or (not second and clips == 2):
            raise ValueError(f"{place}: {'a pair needs two files' if clips == 2 else 'no file'}")
        second = second if clips == 2 else ""
        name = name or str(reader.line_num)
        if name in rows:
            raise ValueError(f"{place}: the id {name!r} stands for more than one pair")
        rows[name] = Row(name, first, second)
    return list(rows.values())


def explain_table(
    explainer: Explainer, table: str, out: str, asked: Mapping[str, Any], batch: int = 8
) -> Done:
    """Answer the pairs of `table` that `out` has no answer to. `asked` is how; see
    `Explainer.many`. Paths in the table are relative to its folder.

    Raises ValueError for a table that cannot be read, for an `out` that is none of ours, and for
    one that holds answers to another question, of another checkpoint or on other files.
    """
    rows, done, file = read_table(table, explainer.clips), Done(), local(out)
    question = {
        "model": _model(explainer),
        "prompt": explainer.asked(asked["tier"], asked["caption"], asked["prompt"], asked["whole"]),
        "decode": asked["decode"] or explainer.usual_decode,
        "windows": asked["whole"],
    }
    before = _answers(file, question, rows)
    left = [row for row in rows if row.id not in before]
    done.before = len(rows) - len(left)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Without a line that was cut off, and without those of clips that are tried again.
    write_below(file, "".join(before.values()))
    folder = local(table).parent
    with (
        file.open("a", encoding="utf-8") as lines,
        tqdm(total=len(left), unit="row", disable=None) as bar,
    ):
        for start in range(0, len(left), batch):
            some = left[start : start + batch]
            for line in _lines(explainer, some, folder, asked, question, batch, done):
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            lines.flush()
            bar.update(len(some))
    return done


def _model(explainer: Explainer) -> str:
    """Name and step, and what tells the weights from others of that name and step."""
    weights = fingerprint(explainer.experiment.model, explainer.trained.variables)[:12]
    return f"{explainer.experiment.name}, step {explainer.trained.step}, {weights}"


def _answers(out: Path, question: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, str]:
    """The lines of `out` that are answers, by id."""
    if not out.exists():
        return {}
    files = {row.id: row.files for row in rows}
    found = {}
    # Not splitlines(): a text may hold U+2028 and its kin, which JSON leaves as they are.
    *whole, _ = read_text(str(out)).split("\n")
    for number, text in enumerate(whole, start=1):
        try:
            line = json.loads(text)
            name = str(line["id"])
            clips = (line["first"], *((line["second"],) if "second" in line else ()))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{out}, line {number} is no answer of ours: choose another file"
            ) from error
        if "error" in line:
            continue
        for key, value in question.items():
            if line.get(key) != value:
                raise ValueError(
                    f"{out}, line {number} answers {key} {line.get(key)!r}, not {value!r}: choose "
                    "another file"
                )
        if clips != files.get(name, clips):
            raise ValueError(
                f"{out}, line {number} is on {' and '.join(clips)}, but the row {name!r} is "
                f"now {' and '.join(files[name])}: choose another file, or give the rows ids"
            )
        found[name] = text + "\n"
    return found


def _lines(
    explainer: Explainer,
    rows: Sequence[Row],
    folder: Path,
    asked: Mapping[str, Any],
    question: Mapping[str, Any],
    batch: int,
    done: Done,
) -> list[dict[str, Any]]:
    waves: list[tuple[np.ndarray, ...]] = []
    kept: list[Row] = []
    lines: list[dict[str, Any]] = []
    for row in rows:
        try:
            waves.append(tuple(explainer.wave(folder / name) for name in row.files))
            kept.append(row)
        except AudioError as error:
            done.unusable += 1
            lines.append({**row.as_json(), "error": str(error)})
    if not kept:
        return lines
    # A last batch is filled up, so that nothing is compiled for its size.
    filled = [*waves, *[waves[-1]] * (batch - len(waves))]
    # Their own, so that what is sampled for a pair does not change with its neighbours.
    numbers = [zlib.crc32(row.id.encode()) & 0x7FFFFFFF for row in kept]
    numbers += [0] * (batch - len(kept))
    found = explainer.many(filled, numbers=numbers, **asked)
    for row, said in zip(kept, found, strict=False):
        done.answered += 1
        line = {
            **row.as_json(),
            **question,
            "text": said.text,
            "logprob": round(said.score, 4),
            "events": [
                {name: round(probability, 4) for name, probability in clip[:EVENTS]}
                for clip in said.events
            ],
            "notes": list(said.notes),
        }
        if explainer.warned:
            line["unsupported"] = list(said.unsupported)
        lines.append(line)
    return lines
