"""Reads the `clips` and `pairs` tables that `adiff_jax.data.builders.tables` writes, joining them.

A table directory holds two TFDS datasets in ArrayRecord files, `clips/1.0.0` and `pairs/1.0.0`,
with the same splits. A pair names its clips by their row in the `clips` of the same split. No
tensorflow is needed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from etils import epath

from adiff_jax.audio.io import AudioError, decode_audio
from adiff_jax.data.schema import Clip, Coverage, Edit, Example, Truth
from adiff_jax.storage import is_remote, located

VERSION = "1.0.0"
NO_CLIP = -1
"""Value of `clip_2` in the rows of examples that hold one clip."""


@dataclass(frozen=True)
class Table:
    """One split of the tables in directory `path`, local or in a bucket."""

    path: str
    split: str = "train"


@dataclass(frozen=True)
class _Rows:
    clips: Sequence[Mapping[str, Any]]
    pairs: Sequence[Mapping[str, Any]]
    coverage: Coverage | None = None


class TableSource:
    """The examples of a `Table`, a `Source`. Files are opened at the first read, after pickling.

    Errors: FileNotFoundError where there is no table, ValueError for an unknown split, AudioError
    for a clip that cannot be decoded.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._opened: _Rows | None = None
        self._forget()

    def __getstate__(self) -> Table:
        return self.table

    def __setstate__(self, table: Table) -> None:
        self.table, self._opened = table, None
        self._forget()

    def _forget(self) -> None:
        self._described: dict[int, Clip] = {}  # by number
        self._digests: dict[str, bytes] = {}  # of the same, by name

    def __len__(self) -> int:
        return len(self._rows.pairs)

    def __getitem__(self, index: int) -> Example:
        row = self._rows.pairs[index]
        clip_rows = [self._rows.clips[number] for number in _clip_numbers(row)]
        rates = {int(clip["rate"]) for clip in clip_rows}
        if len(rates) > 1:
            raise ValueError(f"the clips of {_text(row['id'])} have different rates, {rates}")
        rate = rates.pop()
        waves = tuple(
            decode_audio(clip["flac"], f"{self.table.path}: {_text(clip['name'])}", rate)
            for clip in clip_rows
        )
        return replace(self._example(index, tuple(map(_clip, clip_rows))), waves=waves, rate=rate)

    def described(self, index: int) -> Example:
        """Example `index` without its audio. ValueError when two clips that differ have one name,
        as far as this source has been asked."""
        numbers = _clip_numbers(self._rows.pairs[index])
        for number in numbers:
            if number not in self._described:  # its row holds the audio: read once
                row = self._rows.clips[number]
                clip = self._described[number] = _clip(row)
                if self._digests.setdefault(clip.name, row["sha256"]) != row["sha256"]:
                    raise ValueError(f"{self.table.path}: two clips are called {clip.name}")
        return self._example(index, tuple(self._described[number] for number in numbers))

    def _example(self, index: int, clips: tuple[Clip, ...]) -> Example:
        row, truth = self._rows.pairs[index], self.truth(index)
        return Example(
            id=truth.id,
            waves=(),
            rate=0,
            captions=truth.references,
            edits=truth.edits,
            labels=_texts(row["labels"]),
            scene=_text(row["scene"]),
            recordings=truth.recordings,
            prompt=truth.prompt,
            tier=truth.tier,
            clips=clips,
            heard=truth.heard,
            backgrounds=truth.backgrounds,
        )

    def truth(self, index: int) -> Truth:
        row = self._rows.pairs[index]
        heard, backgrounds = json.loads(_text(row["heard"])) if "heard" in row else (None, None)
        return Truth(
            id=_text(row["id"]),
            references=_texts(row["references"]),
            edits=edits_from_rows(json.loads(_text(row["edits"]))),
            recordings=_texts(row["recordings"]),
            prompt=_text(row["prompt"]),
            tier=int(row["tier"]),
            heard=None if heard is None else tuple(map(tuple, heard)),
            backgrounds=None if backgrounds is None else tuple(backgrounds),
        )

    def clip_captions(self, index: int) -> tuple[tuple[str, ...], ...]:
        """The sentences about each clip of example `index` that are stored with it; none in tables
        that were written without them."""
        row = self._rows.pairs[index]
        names = ("captions_1", "captions_2")[: len(_clip_numbers(row))]
        return tuple(_texts(row[name]) if name in row else () for name in names)

    @property
    def coverage(self) -> Coverage | None:
        """How much of what was listed the table holds; None where nothing says so."""
        return self._rows.coverage

    def texts(self) -> Iterator[str]:
        for row in self._rows.pairs:
            yield from _texts(row["references"])

    def clip_names(self) -> list[str]:
        """The name of every clip stored."""
        return [_text(clip["name"]) for clip in self._rows.clips]

    def clip(self, number: int, rate: int) -> np.ndarray:
        """The stored clip `number`, float32 [n] at `rate` Hz. AudioError unless it can be decoded
        and its bytes are those that were written."""
        clip = self._rows.clips[number]
        name = f"{self.table.path}: {_text(clip['name'])}"
        if hashlib.sha256(clip["flac"]).hexdigest() != _text(clip["sha256"]):
            raise AudioError(f"{name}: its bytes do not match their SHA-256; build the table again")
        return decode_audio(clip["flac"], name, rate)

    def dangling(self) -> list[str]:
        """One sentence for every pair that names a clip which is not stored."""
        count = len(self._rows.clips)
        return [
            f"pair {_text(row['id'])} names a clip beyond the {count} stored"
            for row in self._rows.pairs
            if any(number >= count for number in _clip_numbers(row))
        ]

    @property
    def _rows(self) -> _Rows:
        if self._opened is None:
            self._opened = _open(self.table)
        return self._opened


def table_splits(path: epath.PathLike) -> tuple[str, ...]:
    """The splits of the tables in a directory; none where there are no tables."""
    folder = located(path) / "clips" / VERSION
    if not folder.exists():
        return ()
    import tensorflow_datasets as tfds  # as in `_open`

    return tuple(tfds.builder_from_directory(folder).info.splits)


def edits_to_rows(edits: tuple[Edit, ...] | None) -> list[list[str]] | None:
    """Edits as they are stored in every JSON file: a list of [operation, event, replacement];
    None where they are unknown."""
    if edits is None:
        return None
    return [[edit.operation, edit.event, edit.replacement] for edit in edits]


def edits_from_rows(rows: Sequence[Sequence[str]] | None) -> tuple[Edit, ...] | None:
    """The inverse of `edits_to_rows`."""
    return None if rows is None else tuple(Edit(*row) for row in rows)


def _open(table: Table) -> _Rows:
    import tensorflow_datasets as tfds  # seconds to import: only those who read tables pay

    sources = {}
    for name in ("clips", "pairs"):
        folder = _on_disk(table.path) / name / VERSION
        if not folder.exists():
            raise FileNotFoundError(
                f"no table at {folder}: check the path, or build it with `adiff data build`"
            )
        builder = tfds.builder_from_directory(folder)
        if table.split not in builder.info.splits:
            raise ValueError(
                f"{table.path} has no split {table.split!r}; it has {sorted(builder.info.splits)}"
            )
        sources[name] = builder.as_data_source(table.split)
    coverage = (builder.info.metadata or {}).get("coverage", {}).get(table.split)
    return _Rows(**sources, coverage=None if coverage is None else Coverage(**coverage))


def _on_disk(path: epath.PathLike) -> epath.Path:
    """Raises ValueError for tables in a bucket: ArrayRecord reads rows from disks only."""
    if is_remote(path):
        raise ValueError(
            f"{path}: tables are read from disks. Copy them with `gcloud storage cp -r {path} .`, "
            "or mount the bucket with gcsfuse, and name the folder"
        )
    return located(path)


def _clip_numbers(row: Mapping[str, Any]) -> list[int]:
    numbers = (int(row["clip_1"]), int(row["clip_2"]))
    return [number for number in numbers if number != NO_CLIP]


def _clip(row: Mapping[str, Any]) -> Clip:
    return Clip(_text(row["name"]), _texts(row["captions"]), _texts(row["recordings"]))


def _text(value: bytes) -> str:
    return value.decode()


def _texts(values: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(value.decode() for value in values)
