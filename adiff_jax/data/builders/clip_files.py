"""Clips that a published table names, found in the folders in which users keep them.

Users convert files and flatten folders, so a clip is found under another suffix of audio and in the
inner folders of its path alone. Its name is never guessed. What is not there is an error that lists
it, unless the user has named it in a list of exclusions; how much is left is the coverage.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from etils import epath
from tqdm import tqdm

from adiff_jax.audio.io import SUFFIXES, AudioError
from adiff_jax.data.schema import Clip, Coverage, Recurring
from adiff_jax.text_files import read_text

_SHOWN = 10


@runtime_checkable
class Published(Recurring, Protocol):
    """A source of clips that a published table names, of which a user may lack some."""

    @property
    def clips(self) -> Mapping[str, Clip]:
        """Every clip, by its name."""
        ...

    def coverage_without(self, names: Iterable[str]) -> Coverage:
        """The coverage if the clips `names` were excluded too."""
        ...


def find_clips(names: Iterable[str], audio: epath.PathLike) -> dict[str, epath.Path]:
    """The files of those `names` that are under the folder `audio`.

    A name is a path as a table writes it. It is looked up below `audio`, then without its first
    folder, and so on; in each place as it is written, then with each suffix of audio in turn.
    Folders are listed once each, since asking a bucket for every file takes minutes.
    """
    root = epath.Path(audio)
    listed: dict[str, dict[str, epath.Path]] = {}
    found = {}
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        for start in range(len(parts)):
            folder = "/".join(parts[start:-1])
            if folder not in listed:
                listed[folder] = files_in(root / folder if folder else root)
            file = next((f for c in _spellings(parts[-1]) if (f := listed[folder].get(c))), None)
            if file is not None:
                found[name] = file
                break
    return found


def stem_of(name: str) -> str:
    """The last part of a name, without its suffix where that is one of audio."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return last[: -len(PurePosixPath(last).suffix)] if _has_suffix(last) else last


@dataclass(frozen=True)
class Exclusions:
    """Clips that the user does without: `names` as a table writes them, or file names alone, with
    or without suffix. `where` is what errors call the list."""

    names: frozenset[str] = frozenset()
    where: str = ""

    def __contains__(self, name: str) -> bool:
        return name in self.names or stem_of(name) in self._stems

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(stem_of(name) for name in self.names if "/" not in name)

    def check(self, known: Collection[str]) -> None:
        """Raise ValueError unless every entry of the list is one of the clips `known`."""
        stems = {stem_of(name) for name in known}
        unknown = [
            name
            for name in sorted(self.names - set(known))
            if "/" in name or stem_of(name) not in stems
        ]
        if unknown:
            raise ValueError(
                f"{self.where} names {len(unknown)} clips that no table names, such as "
                f"{unknown[0]!r}; take them out"
            )


def read_exclusions(path: str) -> Exclusions:
    """The clips that a text file names, one a line; none for an empty `path`.

    Empty lines do not count. Errors: FileNotFoundError, ValueError for a file that is not UTF-8.
    """
    if not path:
        return Exclusions()
    if not epath.Path(path).exists():
        raise FileNotFoundError(f"{path}: no such list of excluded clips; check the path")
    lines = (line.strip() for line in read_text(path).splitlines())
    return Exclusions(frozenset(line for line in lines if line), path)


def covered(rows: Sequence[Sequence[str]], left_out: Iterable[str]) -> Coverage:
    """The coverage of a table whose rows name `rows` of clips, without those `left_out`."""
    out = set(left_out)
    clips = {name for row in rows for name in row}
    kept = sum(out.isdisjoint(row) for row in rows)
    return Coverage(kept, len(rows), len(clips - out), len(clips))


def missing_clips(
    table: object, audio: object, problems: Mapping[str, str], coverage: Coverage
) -> str:
    """What to say of clips that cannot be had: which, why, and what would be left of the table."""
    shown = [f"{name}: {why.removeprefix(f'{name}: ')}" for name, why in problems.items()][:_SHOWN]
    if len(problems) > _SHOWN:
        shown.append(f"and {len(problems) - _SHOWN} more")
    return (
        f"{table}: {len(problems)} clips cannot be had from {audio}:\n  "
        + "\n  ".join(shown)
        + f"\nWithout them there would be {coverage}."
    )


def unusable_clips(
    names: Iterable[str], read: Callable[[str], object], progress: bool = False
) -> dict[str, str]:
    """The clips that are missing, broken or silent, and why; every one is decoded by `read`."""
    found = {}
    for name in tqdm(names, "check clips", unit="clip", disable=not progress):
        try:
            read(name)
        except AudioError as error:
            found[name] = str(error)
    return found


def files_in(folder: epath.Path) -> dict[str, epath.Path]:
    """The files in a folder by their names, with suffixes of audio in lower case; none where there
    is no such folder."""
    if not folder.is_dir():
        return {}
    return {_normal(path.name): path for path in folder.iterdir()}


def _normal(file: str) -> str:
    """The file name with its suffix, if one of audio, in lower case."""
    suffix = PurePosixPath(file).suffix
    return file[: -len(suffix)] + suffix.lower() if _has_suffix(file) else file


def _spellings(file: str) -> Iterable[str]:
    return dict.fromkeys((_normal(file), *(f"{stem_of(file)}{suffix}" for suffix in SUFFIXES)))


def _has_suffix(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in SUFFIXES
