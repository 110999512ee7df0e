"""Reads AudioDiffCaps, for users who own its audio, and writes it as tables.

Takeuchi et al., DCASE 2023 (arXiv 2308.11923). A split is a CSV file with the columns `key`,
`s1_fn`, `s2_fn`, `caption_1` ... `caption_5`, missing captions being empty cells at the end, and a
folder that holds the named files. The captions of a row are sorted alphabetically: draw one
uniformly, never the first column.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from etils import epath

from adiff_jax.audio.io import read_audio
from adiff_jax.data.builders.on_beam import BeamRunner
from adiff_jax.data.builders.shards import Shard, ShardReport
from adiff_jax.data.builders.table_rows import TableReport
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.schema import Clip, Example, Truth
from adiff_jax.text_files import read_text

_CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))
_COLUMNS = ("key", "s1_fn", "s2_fn", *_CAPTIONS)
_SHOWN = 10


@dataclass(frozen=True)
class AudioDiffCaps:
    """Where a user's copy lies: the audio folder, and the CSV file of each split to build.

    `rate` is the audio's own, 44.1 kHz.
    """

    audio: str
    train: str = ""
    validation: str = ""
    test: str = ""
    rate: int = 44_100


class AudioDiffCapsSource:
    """The pairs of one CSV file, a `Recurring` source.

    Edits are unknown, scenes too; a file stands for the recordings heard in it, so that pairs that
    share a file are not taken for independent.

    Errors: ValueError for a table that lacks columns, rows or captions or repeats a key,
    FileNotFoundError that lists the rows whose files are missing.
    """

    def __init__(self, table: epath.PathLike, audio: epath.PathLike, rate: int = 44_100) -> None:
        self._audio = epath.Path(audio)
        self._rate = rate
        self._rows = _read_rows(epath.Path(table))
        _check_files(epath.Path(table), self._rows, self._audio)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        waves = tuple(self.wave(name) for name in self._rows[index].files)
        return replace(self.described(index), waves=waves)

    def described(self, index: int) -> Example:
        row = self._rows[index]
        return Example(
            id=row.key,
            waves=(),
            rate=self._rate,
            captions=row.captions,
            recordings=row.recordings,
            clips=tuple(Clip(name, recordings=(name,)) for name in row.files),
        )

    def wave(self, name: str) -> np.ndarray:
        return read_audio(self._audio / name, self._rate)

    def truth(self, index: int) -> Truth:
        row = self._rows[index]
        return Truth(id=row.key, references=row.captions, edits=None, recordings=row.recordings)

    def texts(self) -> Iterator[str]:
        for row in self._rows:
            yield from row.captions


def build_audiodiffcaps(
    config: AudioDiffCaps,
    out_dir: epath.PathLike,
    progress: bool = True,
    by: BeamRunner | Shard | None = None,
) -> TableReport | ShardReport:
    """Write the splits of `config` as tables. Errors: as the source and `build_tables`."""
    tables = {"train": config.train, "validation": config.validation, "test": config.test}
    sources = {
        split: AudioDiffCapsSource(table, config.audio, config.rate)
        for split, table in tables.items()
        if table
    }
    if not sources:
        raise ValueError("AudioDiffCaps names no CSV file: set train, validation or test")
    return build_tables(sources, out_dir, progress, by)


@dataclass(frozen=True)
class _Row:
    line: int
    key: str
    files: tuple[str, str]
    captions: tuple[str, ...]

    @property
    def recordings(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.files)))


def _read_rows(table: epath.Path) -> list[_Row]:
    if not table.exists():
        raise FileNotFoundError(f"{table}: no such CSV file; check the path")
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{table} lacks the columns {', '.join(missing)}")
    rows: list[_Row] = []
    seen: dict[str, int] = {}
    for cells in reader:
        line, key = reader.line_num, cells["key"]
        if not key:
            raise ValueError(f"{table} line {line} has no key; name the pair")
        captions = tuple(text for column in _CAPTIONS if (text := (cells[column] or "").strip()))
        if not captions:
            raise ValueError(f"{table} line {line} ({key}) has no caption; remove the row")
        if key in seen:
            raise ValueError(f"{table} line {line} repeats the key {key} of line {seen[key]}")
        seen[key] = line
        rows.append(_Row(line, key, (cells["s1_fn"] or "", cells["s2_fn"] or ""), captions))
    if not rows:
        raise ValueError(f"{table} holds no rows")
    return rows


def _check_files(table: epath.Path, rows: list[_Row], audio: epath.Path) -> None:
    """One listing per folder, since asking a bucket for every file takes minutes."""
    folders = {(audio / name).parent for row in rows for name in row.files}
    present = {file for folder in folders if folder.exists() for file in folder.iterdir()}
    missing = [
        f"line {row.line} ({row.key}): {name or 'empty cell'}"
        for row in rows
        for name in row.files
        if not name or audio / name not in present
    ]
    if missing:
        more = f"\n  and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise FileNotFoundError(
            f"{table} names {len(missing)} files that are not in {audio}:\n  "
            + "\n  ".join(missing[:_SHOWN])
            + more
            + "\nset the audio folder that holds them, or remove the rows"
        )
