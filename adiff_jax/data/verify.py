"""What is wrong with audio on disk: missing, broken, silent, or the same in two splits.

Each path is one split: a CSV table that names audio files, or a folder (with such a table, or
just audio). A path whose clips have folds, by a column `fold` or by the names of ESC, holds a split
for each of them, and a directory of tables (`builders.tables`) may hold several. Every clip is
decoded whole; clips are the same when their samples have one SHA-256, whatever their names and
formats. Original recordings that two splits share are reported too, where they are known: from a
column `original`, the names of ESC, a journal of `export` beside the table, and from tables.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import numpy as np
from etils import epath

from adiff_jax.audio.io import SUFFIXES, AudioError, SilentClipError, read_audio
from adiff_jax.data.builders.table_source import Table, TableSource, table_splits
from adiff_jax.data.export import AUDIO, TABLE, read_journal, wave_hash
from adiff_jax.data.synth.layouts import find, fold_and_original
from adiff_jax.text_files import read_text

_COLUMNS = (("s1_fn", "s2_fn"), ("filepath1", "filepath2"), ("file",), ("filename",))
_TABLES = (TABLE, "clips.csv", "meta/esc50.csv")
_RATE = 16_000
_SHOWN = 10


@dataclass
class Report:
    """What `verify` found, one line a problem, and the clips of each split. Prints as text."""

    counts: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether no fault was found. The same audio twice within a split leaks nothing."""
        return not any(lines for _, lines in self._sections())

    def _sections(self) -> tuple[tuple[str, list[str]], ...]:
        return (
            ("missing", self.missing),
            ("broken", self.broken),
            ("silent", self.silent),
            ("same audio in two splits", self.duplicated),
            ("original recordings in two splits", self.shared),
        )

    def __str__(self) -> str:
        lines = [f"{split}: {count} clips" for split, count in self.counts.items()]
        for title, found in (
            *self._sections(),
            ("same audio twice in one split (no fault)", self.repeated),
        ):
            lines.append(f"{title}: {len(found) or 'none'}")
            lines += [f"  {line}" for line in found[:_SHOWN]]
            if len(found) > _SHOWN:
                lines.append(f"  ... and {len(found) - _SHOWN} more")
        return "\n".join(lines)


def verify(paths: Sequence[str]) -> Report:
    """Check every clip of every split; ValueError for a path that is neither table nor folder.

    A folder that does not exist as given is looked up under ADIFF_DATA, as in training.
    """
    report = Report()
    heard: dict[str, dict[str, str]] = {}
    known: dict[str, str] = {}
    for split in chain.from_iterable(map(_splits, paths)):
        report.counts[split.name] = len(split.clips)
        report.missing += split.missing
        for clip, load in split.clips:
            try:
                digest = wave_hash(load())
            except SilentClipError as error:
                report.silent.append(str(error))
                continue
            except AudioError as error:
                report.broken.append(str(error))
                continue
            places = heard.setdefault(digest, {})
            elsewhere = [first for name, first in places.items() if name != split.name]
            if elsewhere:
                report.duplicated.append(f"{elsewhere[0]} and {clip} (SHA-256 {digest})")
            if places.setdefault(split.name, clip) != clip:
                report.repeated.append(f"{places[split.name]} and {clip} (SHA-256 {digest})")
        for original in split.originals:
            if known.setdefault(original, split.name) != split.name:
                report.shared.append(f"{original}: in {known[original]} and {split.name}")
    return report


@dataclass(frozen=True)
class _Split:
    """Clips by name with what decodes them; what is named but not there; recordings heard."""

    name: str
    clips: Sequence[tuple[str, Callable[[], np.ndarray]]]
    missing: list[str]
    originals: tuple[str, ...]


def _splits(path: str) -> Iterator[_Split]:
    if not epath.Path(path).exists():
        try:
            path = str(find(path))
        except ValueError as error:
            raise ValueError(f"{path} is neither a CSV table nor a folder: {error}") from error
    names = table_splits(path)
    if not names:
        yield from _splits_of_files(path)
    for name in names:
        source = TableSource(Table(path, name))
        clips = [
            (f"{path}, {name}: {clip}", partial(source.clip, number, _RATE))
            for number, clip in enumerate(source.clip_names())
        ]
        truths = (source.truth(index) for index in range(len(source)))
        originals = {recording for truth in truths for recording in truth.recordings}
        missing = [f"{path}, {name}: {line}" for line in source.dangling()]
        yield _Split(f"{path}, {name}", clips, missing, tuple(sorted(originals)))


@dataclass(frozen=True)
class _Named:
    """A clip: its path, where it is named, and what is known of its fold and original recording."""

    path: str
    where: str
    fold: str = ""
    original: str = ""


def _splits_of_files(path: str) -> Iterator[_Split]:
    """One split for each fold, those of numbers in their order; one for clips without a fold."""
    by_fold: dict[str, list[_Named]] = {}
    for clip in _clips_of(path):
        by_fold.setdefault(clip.fold, []).append(clip)
    journal = _originals_of(path)
    for fold in sorted(by_fold, key=lambda name: (len(name), name)):
        clips, missing = [], []
        for clip in by_fold[fold]:
            if epath.Path(clip.path).is_file():
                clips.append((clip.path, partial(read_audio, clip.path, _RATE)))
            else:
                missing.append(f"{clip.where}: {clip.path}")
        originals = {clip.original for clip in by_fold[fold] if clip.original}
        originals |= set() if fold else journal
        name = f"{path}, fold {fold}" if fold else path
        yield _Split(name, clips, missing, tuple(sorted(originals)))


def _clips_of(split: str) -> list[_Named]:
    """Every clip that a path names, once in each fold."""
    path = epath.Path(split)
    if path.is_file():
        return _clips_of_table(path)
    for table in _TABLES:
        if (path / table).is_file():
            return _clips_of_table(path / table)
    found = [_Named(str(file), split, *fold_and_original(file.stem)) for file in _audio_below(path)]
    if not found:
        raise ValueError(f"{split} holds neither {' nor '.join(_TABLES)} nor any audio file")
    return found


def _audio_below(folder: epath.Path) -> Iterator[epath.Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _audio_below(path)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def _clips_of_table(table: epath.Path) -> list[_Named]:
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    present = reader.fieldnames or []
    columns = next((names for names in _COLUMNS if set(names) <= set(present)), None)
    if columns is None:
        wanted = " or ".join(" + ".join(names) for names in _COLUMNS)
        raise ValueError(f"{table} has the columns {', '.join(present)}; expected {wanted}")
    found: dict[tuple[str, str], _Named] = {}
    for row in reader:
        for column in columns:
            if not row[column]:
                continue
            path = _located(table, row[column])
            where = f"{table}, line {reader.line_num}"
            known = ("", "")  # a table of pairs is one split, whatever its files are called
            if len(columns) == 1:
                told = row.get("fold") or "", row.get("original") or ""
                known = fold_and_original(path.stem, *told)
            found.setdefault((str(path), known[0]), _Named(str(path), where, *known))
    return list(found.values())


def _located(table: epath.Path, name: str) -> epath.Path:
    """Beside the table, in `audio/` beside it, or (ESC-50) in `audio/` beside its folder."""
    places = [table.parent / name, table.parent / AUDIO / name, table.parent.parent / AUDIO / name]
    return next((place for place in places if place.is_file()), places[0])


def _originals_of(split: str) -> set[str]:
    path = epath.Path(split)
    entries = read_journal(path.parent if path.is_file() else path)
    return {name for entry in entries for name in entry["recordings"]}
