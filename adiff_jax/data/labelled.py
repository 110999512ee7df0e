"""Single clips with labels, from a table and a folder of audio, to train a tagger on.

Three kinds of table are told apart by what they hold: the segments of AudioSet (`# YTID,
start_seconds, end_seconds, positive_labels` after other comments), the ground truth of FSD50K
(`fname,labels,mids,split`), and any CSV with a column `file` or `filename` and a column `labels`
or `category`, ESC-50's among them. A cell of labels holds several, with commas or semicolons
between them. Labels are taken as they are written, or called by the names of a
second table.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from adiff_jax.audio.io import read_audio
from adiff_jax.data.builders.clip_files import (
    covered,
    find_clips,
    missing_clips,
    read_exclusions,
    stem_of,
)
from adiff_jax.data.schema import Clip, Coverage, Example, Truth
from adiff_jax.data.synth.layouts import find, fold_and_original
from adiff_jax.text_files import read_text

_FILE = ("fname", "file", "filename")
_LABELS = ("labels", "category")
_SPLIT = ("split", "fold")
_SEGMENTS = ("YTID", "start_seconds", "end_seconds", "positive_labels")


@dataclass(frozen=True)
class LabelledClips:
    """The clips that `table` lists and the folder `audio` holds, found as `find_clips` does.

    Relative paths that do not exist are looked up under ADIFF_DATA. `classes` is the order of
    tagging targets; empty means all labels of the table, sorted. `split` keeps the rows whose
    column `split` or `fold` has one of these values; empty keeps all. A clip that is not there is
    an error unless the text file `exclude` names it, one a line. With `names`, a CSV file with the
    columns `mid` and `display_name` such as AudioSet's `class_labels_indices.csv`, labels that are
    identifiers are called by their names; `classes` are these names.
    """

    table: str = "clips.csv"
    audio: str = "audio"
    classes: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    exclude: str = ""
    rate: int = 32_000
    names: str = ""


class LabelledClipSource:
    """The examples of `LabelledClips`, one clip each. A `Labelled` source with a coverage.

    Errors: ValueError for a table that cannot be read, names a clip twice or has a label outside
    `classes`; FileNotFoundError for a table or clips that are not there.
    """

    def __init__(self, config: LabelledClips) -> None:
        listed = _read_rows(config)
        self._files = _files(config, listed)
        exclusions = read_exclusions(config.exclude)
        out = {row.name for row in listed if any(name in exclusions for name in row.spellings)}
        self._rows = [row for row in listed if row.name not in out]
        clips = [(row.name,) for row in listed]
        self.coverage: Coverage = covered(clips, out)
        if missing := [row.name for row in self._rows if row.name not in self._files]:
            problems = dict.fromkeys(missing, "there is no such file")
            left = covered(clips, [*out, *missing])
            raise FileNotFoundError(
                missing_clips(config.table, config.audio, problems, left)
                + "\nAdd them, or do without them: `adiff data missing CONFIG` writes the list "
                "that LabelledClips.exclude then needs"
            )
        if not self._rows:
            raise ValueError(f"{config.table}: {config.exclude} leaves none of its clips")
        self._rate = config.rate
        self.classes: tuple[str, ...] = config.classes or tuple(
            sorted({label for row in listed for label in row.labels})
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        row = self._rows[index]
        return Example(
            id=row.name,
            waves=(read_audio(self._files[row.name], self._rate),),
            rate=self._rate,
            labels=row.labels,
            recordings=(row.original,),
            clips=(Clip(row.name, recordings=(row.original,)),),
        )

    def truth(self, index: int) -> Truth:
        row = self._rows[index]
        return Truth(row.name, (), None, (row.original,))

    def texts(self) -> Iterator[str]:
        """None: a tagger has no sentences."""
        return iter(())


def missing_names(config: LabelledClips) -> tuple[str, ...]:
    """The clips of a table that are not there, whatever `exclude` says."""
    rows = _read_rows(config)
    files = _files(config, rows)
    return tuple(row.name for row in rows if row.name not in files)


@dataclass(frozen=True)
class _Row:
    """A clip, the names that its file may have, its labels and its original recording."""

    name: str
    spellings: tuple[str, ...]
    labels: tuple[str, ...]
    original: str


def _files(config: LabelledClips, rows: list[_Row]) -> dict[str, os.PathLike[str]]:
    found = find_clips((name for row in rows for name in row.spellings), find(config.audio))
    named = {row.name: [found[name] for name in row.spellings if name in found] for row in rows}
    return {name: paths[0] for name, paths in named.items() if paths}


def _read_rows(config: LabelledClips) -> list[_Row]:
    table = _find_table(config.table)
    names = _read_names(_find_table(config.names)) if config.names else {}
    seen: dict[str, int] = {}
    rows = []
    for line, row in _parsed(table, read_text(table), config.split):
        if names:
            if unnamed := [label for label in row.labels if label not in names]:
                raise ValueError(f"{table} line {line}: {config.names} has no name of {unnamed[0]}")
            row = replace(row, labels=tuple(names[label] for label in row.labels))
        if row.name in seen:
            raise ValueError(
                f"{table} line {line} names {row.name} again, after line {seen[row.name]}; write "
                "its labels in one row, with commas between them"
            )
        seen[row.name] = line
        if not row.name or not row.labels:
            lacking = "no label" if row.name else "no file"
            raise ValueError(f"{table} line {line} has {lacking}; fill it in or take the row out")
        unknown = sorted(set(row.labels) - set(config.classes)) if config.classes else ()
        if unknown:
            raise ValueError(
                f"{table} line {line}: the label {unknown[0]!r} is not among "
                "LabelledClips.classes; add it, or leave classes empty"
            )
        rows.append(row)
    if not rows:
        of = f" of split {' or '.join(config.split)}" if config.split else ""
        raise ValueError(f"{table} lists no clips{of}")
    return rows


def _read_names(table: Path) -> dict[str, str]:
    """Class names by identifier."""
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    if not {"mid", "display_name"} <= {*(reader.fieldnames or ())}:
        raise ValueError(f"{table} has not both columns, mid and display_name")
    return {row["mid"]: row["display_name"] for row in reader}


def _find_table(path: str) -> Path:
    """`path`, or the file of that name under ADIFF_DATA."""
    data = os.environ.get("ADIFF_DATA")
    places = [Path(path), *([Path(data) / path] if data else [])]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"no table of labelled clips at {' or '.join(map(str, places))}")


def _parsed(table: Path, text: str, split: tuple[str, ...]) -> Iterator[tuple[int, _Row]]:
    """Line and row of every clip of the wanted splits."""
    lines = text.splitlines()
    comments = [line for line in lines if line.startswith("#")]
    if any(all(name in comment for name in _SEGMENTS) for comment in comments):
        if split:
            raise ValueError(
                f"{table} is a table of AudioSet, which has no splits: leave split out"
            )
        yield from _segments(table, lines)
    else:
        yield from _cells(table, text, split)


def _segments(table: Path, lines: list[str]) -> Iterator[tuple[int, _Row]]:
    for line, text in enumerate(lines, start=1):
        if not text.strip() or text.startswith("#"):
            continue
        cells = next(csv.reader([text], skipinitialspace=True))
        if len(cells) != len(_SEGMENTS):
            raise ValueError(f"{table} line {line} has {len(cells)} cells; expected 4")
        name = cells[0]
        # Downloaders of YouTube clips put a Y before ids, lest a file name begin with "-".
        yield line, _Row(name, (name, f"Y{name}"), _labels(cells[3]), name)


def _cells(table: Path, text: str, split: tuple[str, ...]) -> Iterator[tuple[int, _Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or ()

    def column(names: tuple[str, ...]) -> str:
        found = next((name for name in names if name in columns), None)
        if found is None:
            raise ValueError(
                f"{table} has no column {' or '.join(names)}; it has {', '.join(columns)}"
            )
        return found

    file, labels = column(_FILE), column(_LABELS)
    part = column(_SPLIT) if split else ""
    for cells in reader:
        if split and cells[part] not in split:
            continue
        name = (cells[file] or "").strip()
        told = (cells.get("fold") or "", cells.get("original") or "")
        _, original = fold_and_original(stem_of(name), *told)
        yield reader.line_num, _Row(name, (name,), _labels(cells[labels] or ""), original or name)


def _labels(cell: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label.strip() for label in re.split("[,;]", cell) if label.strip()))
