"""The published tables of Clotho and AudioCaps, and the files of their clips in a user's folders.

Clotho 2.1 (Drossos et al., ICASSP 2020): a CSV file a split with the columns `file_name`,
`caption_1` ... `caption_5`. AudioCaps (Kim et al., NAACL 2019): a CSV file a split with the columns
`audiocap_id`, `youtube_id`, `start_time` and `caption`, of which a clip has one row in train and
five in validation and test.
"""

import csv
import io
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from etils import epath

from adiff_jax.audio.io import SUFFIXES
from adiff_jax.data.builders.clip_files import files_in, find_clips, stem_of
from adiff_jax.text_files import read_text

_CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))
_TIME = r"\d+(?:\.\d+)?"

Files = dict[str, epath.Path]
"""The files of clips, by the names of the clips."""


@dataclass(frozen=True)
class CaptionedFiles:
    """Where a user's copy lies: the audio folder, and the CSV file of each split to build.

    `exclude` is a text file that names clips to do without. Clips are stored at `rate` Hz.
    """

    audio: str
    train: str = ""
    validation: str = ""
    test: str = ""
    exclude: str = ""
    rate: int = 44_100

    folders: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What the folder of a split may be called, below `audio`."""

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise ValueError(f"the rate is {self.rate}: say at how many Hz to store clips")

    @property
    def tables(self) -> dict[str, str]:
        """The CSV file of each split that has one."""
        tables = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: table for split, table in tables.items() if table}


@dataclass(frozen=True)
class Clotho(CaptionedFiles):
    """A user's copy of Clotho, whose splits are called development, validation and evaluation."""

    folders = {
        "train": ("development", "clotho_audio_development", "dev"),
        "validation": ("validation", "clotho_audio_validation", "val"),
        "test": ("evaluation", "clotho_audio_evaluation", "eval"),
    }


@dataclass(frozen=True)
class AudioCaps(CaptionedFiles):
    """A user's copy of AudioCaps."""

    folders = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class ListedClip:
    """What a table says of a clip: its captions, in how many rows, and what its file may be called.

    `start`, where the clip begins in its video, in seconds, may be part of the file's name too.
    """

    name: str
    captions: tuple[str, ...]
    rows: int
    spellings: tuple[str, ...]
    start: float | None = None


def read_listed(config: Clotho | AudioCaps) -> dict[str, list[ListedClip]]:
    """The clips of every split, in the order in which its table first names them.

    Errors: FileNotFoundError, and ValueError that names file and line, for a table that lacks
    columns, rows, names or captions, or repeats what may be there once.
    """
    match config:
        case Clotho():
            return {split: _read_clotho(table) for split, table in config.tables.items()}
        case AudioCaps():
            return {split: _read_audiocaps(table) for split, table in config.tables.items()}


def find_listed(
    config: Clotho | AudioCaps, listed: Mapping[str, Sequence[ListedClip]]
) -> dict[str, Files]:
    """The files of every split: in the folder of the split, then in `audio` itself.

    Clips whose files are called as a table says come first, in all splits, so that none of these
    files is taken for another clip. FileNotFoundError where there is no folder of audio.
    """
    root = epath.Path(config.audio)
    if not root.is_dir():
        raise FileNotFoundError(f"{config.audio}: no such folder of audio; check the path")
    places = {
        split: [*(root / name for name in config.folders[split] if (root / name).is_dir()), root]
        for split in listed
    }
    found: dict[str, Files] = {split: {} for split in listed}
    for split, clips in listed.items():
        for place in places[split]:
            files = find_clips((name for clip in clips for name in clip.spellings), place)
            for clip in _without(clips, found[split]):
                if name := next((name for name in clip.spellings if name in files), None):
                    found[split][clip.name] = files[name]
    for split, clips in listed.items():
        for place in places[split]:
            if left := _without(clips, found[split]):
                taken = {file for files in found.values() for file in files.values()}
                free = {stem: file for stem, file in _audio_in(place).items() if file not in taken}
                match config:
                    case Clotho():
                        found[split] |= _alike(left, free)
                    case AudioCaps():
                        found[split] |= _with_start(left, free)
    return found


def _rows(table: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every row of a CSV file, with what errors call it."""
    if not epath.Path(table).exists():
        raise FileNotFoundError(f"{table}: no such CSV file; check the path")
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    if lacking := [column for column in columns if column not in (reader.fieldnames or ())]:
        raise ValueError(f"{table} line 1 lacks the columns {', '.join(lacking)}")
    where = ""
    for cells in reader:
        where = f"{table} line {reader.line_num}"
        if None in cells:
            raise ValueError(f"{where} has more cells than columns; quote cells that hold commas")
        yield where, {column: cells[column] or "" for column in columns}
    if not where:
        raise ValueError(f"{table} holds no rows")


def _read_clotho(table: str) -> list[ListedClip]:
    clips = []
    seen: dict[str, str] = {}
    for where, row in _rows(table, ("file_name", *_CAPTIONS)):
        # Three of the published names begin with a space, which a list of names cannot keep.
        name = row["file_name"].strip()
        if not name:
            raise ValueError(f"{where} has no file_name; fill it in or take the row out")
        captions = tuple(text for column in _CAPTIONS if (text := _one_line(row[column])))
        if not captions:
            raise ValueError(f"{where} ({name}) has no caption; write one or take the row out")
        if name in seen:
            raise ValueError(f"{where} names {name} again, after {seen[name]}; take one out")
        seen[name] = where
        clips.append(ListedClip(name, captions, 1, (row["file_name"], name)))
    return clips


def _read_audiocaps(table: str) -> list[ListedClip]:
    clips: dict[str, ListedClip] = {}
    first: dict[str, str] = {}
    seen: dict[str, str] = {}
    for where, row in _rows(table, ("audiocap_id", "youtube_id", "start_time", "caption")):
        number, name, time, caption = (_one_line(cell) for cell in row.values())
        if not re.fullmatch("[A-Za-z0-9_-]+", name):  # spreadsheets make "#NAME?" of "-abc"
            raise ValueError(f"{where}: youtube_id is {name!r}, which is the id of no video")
        if not re.fullmatch(_TIME, time):
            raise ValueError(f"{where} ({name}): start_time is {time!r}; say it in seconds")
        if not caption:
            raise ValueError(f"{where} ({name}) has no caption; write one or take the row out")
        if number and number in seen:
            raise ValueError(f"{where} repeats the audiocap_id {number} of {seen[number]}")
        seen[number] = where
        start = float(time)
        clip = clips.get(name) or ListedClip(name, (), 0, (f"Y{name}", name), start)
        if clip.start != start:
            raise ValueError(
                f"{where}: {name} starts at {start:g} s, and in {first[name]} at {clip.start:g} s; "
                "take out one of the clips"
            )
        first.setdefault(name, where)
        clips[name] = replace(clip, captions=(*clip.captions, caption), rows=clip.rows + 1)
    return list(clips.values())


def _one_line(cell: str) -> str:
    return " ".join(cell.split())


def _without(clips: Sequence[ListedClip], found: Mapping[str, object]) -> list[ListedClip]:
    return [clip for clip in clips if clip.name not in found]


def _audio_in(folder: epath.Path) -> Files:
    """The files of audio in a folder by their stems, but for "._a.wav", which macOS writes beside
    a.wav."""
    return {
        stem_of(file.name): file
        for file in files_in(folder).values()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("._")
    }


def _alike(clips: Sequence[ListedClip], files: Files) -> Files:
    """The files whose names have the letters and digits of a clip's, where just one file and one
    clip have them: what stands between was changed to suit a file system."""
    stems = {name: _letters(stem_of(name)) for name in (clip.name for clip in clips)}
    clips_with, files_with = Counter(stems.values()), Counter(map(_letters, files))
    by_letters = {_letters(stem): file for stem, file in files.items()}
    return {
        name: by_letters[letters]
        for name, letters in stems.items()
        if letters and clips_with[letters] == files_with[letters] == 1
    }


def _letters(stem: str) -> str:
    """Letters and digits of a name, and the gaps between two digits: 1-2 is not 12."""
    composed = unicodedata.normalize("NFC", stem)  # macOS writes é as two characters
    return re.sub(r"[^\w\0]|_", "", re.sub(r"(?<=\d)[\W_]+(?=\d)", "\0", composed))


def _with_start(clips: Sequence[ListedClip], files: Files) -> Files:
    """The files that are called after a video and the clip's start, in s or ms, and maybe its
    end."""
    stems = sorted(files)
    found: Files = {}
    for clip in clips:
        for before in (f"{spelling}_" for spelling in clip.spellings):
            place = bisect_left(stems, before)
            while place < len(stems) and stems[place].startswith(before):
                told = re.fullmatch(f"({_TIME})(?:[_-]{_TIME})?", stems[place][len(before) :])
                if told and clip.start in (float(told[1]), float(told[1]) / 1000):
                    found.setdefault(clip.name, files[stems[place]])
                place += 1
    return found
