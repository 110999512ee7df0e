"""One generated sentence a line: the file that decoding writes and scoring reads.

A prediction line is a JSON object with the keys id, text, tokens, logprob, references, prompt and
tier, in this order. Files are UTF-8, sorted by id, with rounded log-probabilities, so that equal
predictions are equal bytes. Lines that hold only id and text are enough to score the answers of
another system. Paths may be local or remote (`etils.epath`).
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from etils import epath

from adiff_jax.storage import write_below
from adiff_jax.text_files import read_text

LOGPROB_DECIMALS = 4


@dataclass(frozen=True)
class Prediction:
    """What a system said of one example.

    `tokens` are the generated ids, `logprob` is their summed natural log-probability; both are
    empty for systems that do not report them.
    """

    id: str
    text: str
    tokens: tuple[int, ...] = ()
    logprob: float | None = None
    references: tuple[str, ...] = ()
    prompt: str = ""
    tier: int = 0

    def as_json(self) -> dict[str, Any]:
        """The fields in the order of the file, with lists for tuples."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Prediction":
        """The inverse of `as_json`. Raises ValueError that names the field which does not fit."""
        for name in ("id", "text"):
            if name not in row:
                raise ValueError(f'field "{name}" is missing; a line needs at least id and text')
        unknown = sorted(set(row) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise ValueError(f'field "{unknown[0]}" is unknown; the fields are {known}')
        for name in ("id", "text", "prompt"):
            _expect(name, row.get(name, ""), isinstance(row.get(name, ""), str), "a string")
        tier, logprob = row.get("tier", 0), row.get("logprob")
        tokens, references = row.get("tokens", []), row.get("references", [])
        _expect("tier", tier, _is_integer(tier), "an integer")
        fits = logprob is None or (_is_number(logprob) and math.isfinite(logprob))
        _expect("logprob", logprob, fits, "a finite number or null")
        fits = isinstance(tokens, list) and all(map(_is_integer, tokens))
        _expect("tokens", tokens, fits, "a list of integers")
        fits = isinstance(references, list) and all(isinstance(text, str) for text in references)
        _expect("references", references, fits, "a list of strings")
        return cls(
            id=row["id"],
            text=row["text"],
            tokens=tuple(tokens),
            logprob=None if logprob is None else float(logprob),
            references=tuple(references),
            prompt=row.get("prompt", ""),
            tier=tier,
        )


def write_predictions(path: epath.PathLike, rows: Iterable[Prediction]) -> None:
    """Write `rows` sorted by id, log-probabilities rounded to `LOGPROB_DECIMALS`.

    Raises ValueError on a repeated id or a log-probability that is not finite.
    """
    lines = []
    seen: set[str] = set()
    for row in sorted(rows, key=lambda row: row.id):
        if row.id in seen:
            raise ValueError(f"{path}: two predictions have the id {row.id!r}")
        seen.add(row.id)
        record = row.as_json()
        if row.logprob is not None:
            if not math.isfinite(row.logprob):
                raise ValueError(f"{path}: the logprob of {row.id!r} is {row.logprob}")
            # Adding 0.0 turns -0.0 into 0.0, which prints differently.
            record["logprob"] = round(float(row.logprob), LOGPROB_DECIMALS) + 0.0
        lines.append(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    write_below(path, "".join(lines))


def read_predictions(path: epath.PathLike) -> list[Prediction]:
    """Read a prediction file in the order of its lines.

    A byte-order mark is left out.
    Raises ValueError that names the file, the line and the field: a line that is no JSON object,
    a missing or unknown field, a value of another type, an id that came before.
    """
    rows: list[Prediction] = []
    line_of: dict[str, int] = {}
    # Not splitlines(): a text may hold U+2028 and its kin, which JSON leaves as they are.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"a JSON object is expected, not {type(record).__name__}")
            row = Prediction.from_json(record)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if row.id in line_of:
            raise ValueError(
                f'{path}, line {number}: field "id" repeats {row.id!r} of line {line_of[row.id]}'
            )
        line_of[row.id] = number
        rows.append(row)
    return rows


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _expect(name: str, value: object, fits: bool, wanted: str) -> None:
    if not fits:
        raise ValueError(f'field "{name}" must be {wanted}, not {value!r}')
