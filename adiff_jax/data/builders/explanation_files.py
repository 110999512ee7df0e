"""The published texts of ACD and CLD: pairs of clips with an explanation in each of three tiers.

Deshmukh et al., ICLR 2025 (arXiv 2502.04476). A split is one CSV file a tier with the columns
`taskname`, `filepath1`, `filepath2`, `caption1`, `caption2`, `input` and `answer`. The files of a
split hold the same pairs in the same order, and `input` asks for one tier throughout a file. A
split may lack a tier. A few rows pair a clip with itself, and stay.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from etils import epath

from adiff_jax.text_files import read_text

_PAIR = ("taskname", "filepath1", "filepath2", "caption1", "caption2")
_COLUMNS = (*_PAIR, "input", "answer")
_ASKED = {1: "few words", 2: "sentence", 3: "detail"}
"""What the instruction of each tier has in it, and that of no other."""


@dataclass(frozen=True)
class ExplainedPair:
    """One row of the published files: two clips, a caption of each, and its text in each tier."""

    id: str
    clips: tuple[str, str]
    captions: tuple[str, str]
    answers: Mapping[int, str]


def read_pairs(tables: Sequence[epath.PathLike]) -> list[ExplainedPair]:
    """The pairs of one split from the CSV files of its tiers.

    Errors: FileNotFoundError, and ValueError that names file, line and column, for a file that
    lacks columns, rows or texts or asks for several tiers, for two files of one tier, and for files
    whose rows differ.
    """
    by_tier: dict[int, _TierFile] = {}
    for table in tables:
        file = _read_tier(epath.Path(table))
        if file.tier in by_tier:
            raise ValueError(f"{by_tier[file.tier].path} and {table} both hold tier {file.tier}")
        by_tier[file.tier] = file
    files = [by_tier[tier] for tier in sorted(by_tier)]
    for other in files[1:]:
        _check_same_rows(files[0], other)
    return [
        ExplainedPair(
            id=f"{rows[0]['taskname']}/{number:06d}",
            clips=(rows[0]["filepath1"], rows[0]["filepath2"]),
            captions=(rows[0]["caption1"], rows[0]["caption2"]),
            answers={file.tier: row["answer"] for file, row in zip(files, rows, strict=True)},
        )
        for number, rows in enumerate(zip(*(file.rows for file in files), strict=True))
    ]


@dataclass(frozen=True)
class _TierFile:
    path: epath.Path
    tier: int
    rows: list[dict[str, str]]
    lines: list[int]


def _read_tier(path: epath.Path) -> _TierFile:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such CSV file; check the path")
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    lacking = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if lacking:
        raise ValueError(f"{path} lacks the columns {', '.join(lacking)}")
    rows, lines, tier = [], [], 0
    for cells in reader:
        row = {column: (cells[column] or "").strip() for column in _COLUMNS}
        if empty := [column for column in _COLUMNS if not row[column]]:
            raise ValueError(f"{path} line {reader.line_num}: {empty[0]} is empty; fill it in")
        asked = [number for number, words in _ASKED.items() if words in row["input"].lower()]
        if len(asked) != 1 or asked[0] != (tier or asked[0]):
            expected = _ASKED[tier] if tier else " or ".join(f"{w!r}" for w in _ASKED.values())
            raise ValueError(
                f"{path} line {reader.line_num}: input is {row['input']!r}; a file asks for one "
                f"tier in every row, here with {expected}"
            )
        tier = asked[0]
        rows.append(row)
        lines.append(reader.line_num)
    if not rows:
        raise ValueError(f"{path} holds no rows")
    return _TierFile(path, tier, rows, lines)


def _check_same_rows(one: _TierFile, other: _TierFile) -> None:
    for number, (row, same) in enumerate(zip(one.rows, other.rows, strict=False)):
        for column in _PAIR:
            if row[column] != same[column]:
                raise ValueError(
                    f"row {number + 1} differs: {column} is {row[column]!r} in {one.path} (line "
                    f"{one.lines[number]}) and {same[column]!r} in {other.path} (line "
                    f"{other.lines[number]}); the tiers of a split list the same pairs"
                )
    if len(one.rows) != len(other.rows):
        raise ValueError(
            f"{one.path} holds {len(one.rows)} rows, {other.path} {len(other.rows)}; the tiers of "
            "a split list the same pairs"
        )
