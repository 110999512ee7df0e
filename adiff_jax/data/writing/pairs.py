"""Captioned clips, and the pairs that are drawn of them.

Each (clip, caption) is the first of one pair; the second is another clip, never the same one, with
one of its captions (as ADIFF's data were made; Deshmukh et al., ICLR 2025).

A table of captions is a CSV file of one of three layouts, told apart by its columns; a clip may
have several rows:

    file_name, caption_1 ... caption_N              Clotho
    youtube_id, start_time, caption                 AudioCaps; the file is Y<youtube_id>.wav
    file, caption                                   anything else
"""

import csv
import hashlib
import io
import json
import posixpath
import re
from dataclasses import dataclass

import numpy as np
from etils import epath

from adiff_jax.text_files import read_text

_FILE_COLUMNS = ("file_name", "file", "youtube_id")


@dataclass(frozen=True)
class Captioned:
    """A clip by its file, and every caption it has, none twice."""

    file: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two different clips, each with one of its captions; `id` is unique within a drawing."""

    id: str
    files: tuple[str, str]
    captions: tuple[str, str]


def read_captions(table: epath.PathLike, folder: str = "") -> tuple[Captioned, ...]:
    """The clips of a CSV file, in the order in which they are first named; `folder` is put before
    every file name.

    Errors: FileNotFoundError; ValueError for columns of no layout, a row without a file or without
    a caption, a YouTube clip with two start times, fewer than two clips.
    """
    table = epath.Path(table)
    if not table.exists():
        raise FileNotFoundError(f"{table}: no such CSV file; check the path")
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    file_column, caption_columns = _layout(table, list(reader.fieldnames or ()))
    names: dict[str, str] = {}  # by what the name means, so that ./a.wav is a.wav
    captions: dict[str, dict[str, None]] = {}
    starts: dict[str, str] = {}
    for row in reader:
        where = f"{table} line {reader.line_num}"
        name = (row[file_column] or "").strip()
        if not name:
            raise ValueError(f"{where} has no {file_column}; name the clip or remove the row")
        texts = [text for c in caption_columns if (text := " ".join((row[c] or "").split()))]
        if not texts:
            raise ValueError(f"{where} ({name}) has no caption; write one or remove the row")
        if file_column == "youtube_id":
            start = (row.get("start_time") or "").strip()
            if starts.setdefault(name, start) != start:
                raise ValueError(
                    f"{where}: {name} starts at {start} and, in a row before, at {starts[name]}, "
                    "but has one file; give the table the columns file and caption instead"
                )
            name = f"Y{name}.wav"
        clip = posixpath.normpath(name)
        names.setdefault(clip, name)
        captions.setdefault(clip, {}).update(dict.fromkeys(texts))
    if len(names) < 2:
        raise ValueError(f"{table} has {len(names)} clips; a pair needs two different ones")
    before = f"{folder.rstrip('/')}/" if folder else ""
    return tuple(Captioned(before + name, tuple(captions[clip])) for clip, name in names.items())


def draw_pairs(clips: tuple[Captioned, ...], seed: int) -> tuple[Pair, ...]:
    """One pair for every (clip, caption) of `clips`, the same for the same `seed`.

    A pair depends on its place and the seed alone. Raises ValueError for fewer than two clips.
    """
    if len(clips) < 2:
        raise ValueError(f"{len(clips)} clips are no pair: give at least two")
    firsts = [(index, text) for index, clip in enumerate(clips) for text in clip.captions]
    pairs = []
    for place, (index, caption) in enumerate(firsts):
        rng = np.random.default_rng([seed, place])
        other = int(rng.integers(len(clips) - 1))
        second = clips[other + (other >= index)]  # steps over the first clip itself
        text = second.captions[int(rng.integers(len(second.captions)))]
        pairs.append(Pair(f"{place:06d}", (clips[index].file, second.file), (caption, text)))
    return tuple(pairs)


def digest(things: tuple[Captioned, ...] | tuple[Pair, ...]) -> str:
    """SHA-256 of every field of `things`, to know later whether they are the same."""
    return hashlib.sha256(json.dumps([vars(thing) for thing in things]).encode()).hexdigest()


def _layout(table: epath.Path, columns: list[str]) -> tuple[str, list[str]]:
    """The column that names the file, and those that hold captions."""
    files = [column for column in _FILE_COLUMNS if column in columns]
    captions = [c for c in columns if c and re.fullmatch(r"caption(_\d+)?", c)]
    if len(files) != 1 or not captions:
        raise ValueError(
            f"{table} has the columns {', '.join(map(str, columns)) or '(none)'}: needed are one "
            f"of {', '.join(_FILE_COLUMNS)}, and caption or caption_1, caption_2, ..."
        )
    return files[0], captions
