"""Three ways in which folders of labelled clips are laid out, told apart by what is there.

1. `clips.csv` with the columns file, category and (optionally) fold and original;
2. the official ESC-50 layout: `meta/esc50.csv` and `audio/`
   (K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015);
3. one folder per class, ESC-10's old "001 - Dog bark" included.

Labels are written one way (lower case, underscores), and the four ESC-50 classes that other
releases call differently take one name, so that the same clips are the same library everywhere.
"""

import csv
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from adiff_jax.audio.io import SUFFIXES
from adiff_jax.text_files import read_text

_ALIASES = {
    "dog": "dog_bark",
    "crackling_fire": "fire_crackling",
    "crying_baby": "baby_cry",
    "sneezing": "person_sneeze",
}
_ESC_NAME = re.compile(r"(?P<fold>\d)-(?P<source>\d+)-(?P<take>[A-Z])(-\d+)?")


@dataclass(frozen=True)
class Recording:
    """One labelled clip. `original` is shared by all takes cut from one recording."""

    label: str
    name: str
    original: str
    fold: int


def find(path: str) -> Path:
    """`path`, or the folder of that name under ADIFF_DATA; ValueError says where was looked."""
    root = Path(path)
    if root.is_dir():
        return root
    places = [str(root)]
    data = os.environ.get("ADIFF_DATA")
    if data and not root.is_absolute():
        places.append(str(Path(data) / path))
        if Path(places[-1]).is_dir():
            return Path(places[-1])
    hint = "" if data else "; set ADIFF_DATA to the folder that holds your data"
    raise ValueError(f"no folder of recordings at {' or '.join(places)}{hint}")


def discover(root: Path, esc10_only: bool) -> dict[Recording, str]:
    """Every labelled clip under `root` and its path; no audio is read.

    Raises ValueError for a folder without clips, and for a CSV row that lacks a cell or whose file
    is missing.
    """
    if (root / "clips.csv").is_file():
        found = _from_csv(root / "clips.csv", root, "file", esc10_only)
    elif (root / "meta" / "esc50.csv").is_file():
        found = _from_csv(root / "meta" / "esc50.csv", root / "audio", "filename", esc10_only)
    else:
        found = _from_class_folders(root)
    if not found:
        raise ValueError(
            f"no clips under {root}; expected clips.csv, meta/esc50.csv with audio/, or one folder "
            f"per class with {' '.join(SUFFIXES)} files"
        )
    return found


def folds_of(path: str, esc10_only: bool) -> tuple[int, ...]:
    """The folds of a folder of recordings, looked for as `find` does. Errors: as `discover`."""
    return tuple(sorted({recording.fold for recording in discover(find(path), esc10_only)}))


def label_of(category: str) -> str:
    """The label of a category as written in a table or a folder name."""
    text = re.sub(r"^\d+\s*-\s*", "", category.strip())
    label = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return _ALIASES.get(label, label)


def fold_and_original(stem: str, fold: str = "", original: str = "") -> tuple[str, str]:
    """The fold of a clip and its original recording; "" for what is not known.

    As a table says, else as the name `stem` of its file does where that is
    FOLD-SOURCE-TAKE(-TARGET), as in ESC-50.
    """
    esc = _ESC_NAME.fullmatch(stem)
    if esc:
        return fold or esc["fold"], original or f"{esc['fold']}-{esc['source']}"
    return fold, original


def _from_csv(table: Path, audio: Path, column: str, esc10_only: bool) -> dict[Recording, str]:
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    rows = [(reader.line_num, row) for row in reader]
    columns = reader.fieldnames or []
    for needed in (column, "category"):
        if needed not in columns:
            raise ValueError(f"{table} has no column {needed!r}; it has {', '.join(columns)}")
    found: dict[Recording, str] = {}
    for line, row in rows:
        _check_cells(table, line, row, (column, "category"))
        if esc10_only and row.get("esc10", "True") != "True":
            continue
        path = audio / row[column]
        if not path.is_file():
            raise ValueError(
                f"{table}, line {line}: {path} does not exist; add the file or take the row out"
            )
        fold = row.get("fold") or ""
        if fold and not fold.isdigit():
            raise ValueError(f"{table}, line {line}: fold {fold!r} is not a number")
        recording = _recording(row["category"], path.stem, fold, row.get("original") or "")
        _enter(found, recording, path)
    return found


def _check_cells(table: Path, line: int, row: dict[str, str], needed: tuple[str, ...]) -> None:
    """Raises ValueError for a row shorter than its header, and for a cell that must hold text."""
    for column, cell in row.items():
        if cell is None or (column in needed and not cell.strip()):
            raise ValueError(
                f"{table}, line {line}: the column {column!r} is "
                f"{'missing' if cell is None else 'empty'}; fill it in or take the row out"
            )


def _from_class_folders(root: Path) -> dict[Recording, str]:
    found: dict[Recording, str] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES:
                _enter(found, _recording(folder.name, path.stem, "", ""), path)
    return found


def _enter(found: dict[Recording, str], recording: Recording, path: Path) -> None:
    if recording in found:
        raise ValueError(
            f"{found[recording]} and {path} are both called {recording.name}; rename one of them"
        )
    found[recording] = str(path)


def _recording(category: str, stem: str, fold: str, original: str) -> Recording:
    label = label_of(category)
    fold, original = fold_and_original(stem, fold, original)
    esc = _ESC_NAME.fullmatch(stem)
    if esc:  # the target is part of the official names only
        stem = f"{esc['fold']}-{esc['source']}-{esc['take']}"
    return Recording(label, f"{label}/{stem}", original or f"{label}/{stem}", int(fold or 0))
