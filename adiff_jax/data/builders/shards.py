"""Tables built in shards: commands that know nothing of each other, such as the jobs of an array,
read or make the clips and encode them; another one joins what they have made.

    OUT/shards/about.json            what is shared, among how many; the first command writes it
    OUT/shards/00003-of-00016.zip    what one shard has made

A shard is consecutive pieces of the work of every split (`table_rows.Work`). Its file holds
SPLIT.json, the pieces of a split, and the clips that they name as SHA-256.flac. A file appears
whole or not at all, and whoever makes a shard makes the same, so that shards need no lock. Nothing
is joined until a command is told to, since of several that finish at once none is the last.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from zipfile import BadZipFile, ZipFile

from etils import epath
from tqdm import tqdm

from adiff_jax.audio.io import AudioError
from adiff_jax.data.builders.table_rows import Piece, Work
from adiff_jax.data.order import shard_range
from adiff_jax.data.schema import Recurring, Source
from adiff_jax.storage import mappable, write_first, written_whole

_FORM = 1  # another number is of another version of this package
_SHOWN = 10


@dataclass(frozen=True)
class Shard:
    """The `part`-th of `parts` shards, from 0."""

    part: int
    parts: int

    def __str__(self) -> str:
        return f"{self.part:05d}-of-{self.parts:05d}"


@dataclass(frozen=True)
class ShardReport:
    """What came of a shard: its file, how much of each split it holds, whether it was `made` or had
    been, and how many shards are missing."""

    file: str
    held: dict[str, str]
    made: bool
    missing: int

    def __str__(self) -> str:
        held = ", ".join(f"{much} of {split}" for split, much in self.held.items())
        if self.missing:
            rest = f"shards that are missing: {self.missing}"
        else:
            rest = "all shards are there: the same command without --shard joins them"
        return f"{self.file} {'made' if self.made else 'was there'}: {held}\n{rest}"


class UnusableClips(AudioError):
    """Clips of a shard that are missing or broken, and why: `problems` by split and name."""

    def __init__(self, problems: dict[str, dict[str, str]]) -> None:
        self.problems = problems
        super().__init__("\n".join(why for found in problems.values() for why in found.values()))


class Shards:
    """The shards of building tables in the directory `out`, local or in a bucket."""

    def __init__(self, out: epath.Path) -> None:
        self.folder = out / "shards"

    def begun(self) -> bool:
        """Whether there are any."""
        return self._about.exists()

    def write(
        self, shard: Shard, works: Mapping[str, Work], made_of: Mapping[str, str], progress: bool
    ) -> ShardReport:
        """Write the file of a shard unless it is there.

        Errors: ValueError where there are shards of something else; UnusableClips, which names all
        of the shard, where clips recur; else what the source raises. Nothing is written then.
        """
        shared = _shared(works, made_of)
        about = {"form": _FORM, "shards": shard.parts, "splits": shared}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_first(self._about, json.dumps(about, indent=2))
        self._check(shared, shard.parts)
        file = self._file(shard)
        missing = not file.exists()
        if missing:
            problems: dict[str, dict[str, str]] = {}
            with written_whole(file) as partial, ZipFile(partial, "w") as archive:
                for split, work in works.items():
                    numbers = shard_range(shard.part, shard.parts, len(work))
                    bar = tqdm(
                        numbers, f"build {split} {shard}", unit=work.unit, disable=not progress
                    )
                    problems[split] = _write_pieces(archive, split, work, bar)
                if any(problems.values()):
                    raise UnusableClips(
                        {split: found for split, found in problems.items() if found}
                    )
        held = {
            split: f"{len(shard_range(shard.part, shard.parts, len(work)))} {work.unit}s"
            for split, work in works.items()
        }
        return ShardReport(str(file), held, missing, len(self._missing(shard.parts)))

    def made(self, works: Mapping[str, Work], made_of: Mapping[str, str]) -> "MadePieces":
        """What the shards hold. ValueError where they are of other data, or not all there."""
        parts = self._check(_shared(works, made_of))
        if missing := self._missing(parts):
            names = ", ".join(f"{part}/{parts}" for part in missing[:_SHOWN])
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise ValueError(
                f"{self.folder} lacks the shards {names}{more}: make them with --shard, or remove "
                "it to build without shards"
            )
        files = [self._file(Shard(part, parts)) for part in range(parts)]
        return MadePieces({str(file): mappable(file) for file in files})

    def remove(self) -> None:
        """Remove them all."""
        self.folder.rmtree()

    def _check(self, shared: Mapping[str, Any], parts: int | None = None) -> int:
        """How many shards there are to be. ValueError where they are of other data or, if `parts`
        is given, of another number."""
        about: dict[str, Any] = json.loads(self._about.read_text())
        if about["form"] != _FORM:
            raise ValueError(f"{self.folder} is of another version of this package: remove it")
        found: int = about["shards"]
        if parts not in (None, found):
            raise ValueError(
                f"{self.folder} holds shards of {found}, not of {parts}: say --shard i/{found}, or "
                "remove it"
            )
        if list(about["splits"]) != list(shared):
            raise ValueError(
                f"{self.folder} holds shards of the splits {', '.join(about['splits'])}, not of "
                f"{', '.join(shared)}: say the same splits in the same order, or remove it"
            )
        for split, wanted in shared.items():
            if about["splits"][split] != wanted:
                raise ValueError(
                    f"{self.folder} holds shards of other data, as split {split!r} tells: remove "
                    "it, or name another --out"
                )
        return found

    @property
    def _about(self) -> epath.Path:
        return self.folder / "about.json"

    def _file(self, shard: Shard) -> epath.Path:
        return self.folder / f"{shard}.zip"

    def _missing(self, parts: int) -> list[int]:
        there = {file.name for file in self.folder.iterdir()}
        return [part for part in range(parts) if f"{Shard(part, parts)}.zip" not in there]


@dataclass(frozen=True)
class MadePieces:
    """The pieces of the work in the files of all shards: by name, and where they lie on a disk."""

    files: Mapping[str, epath.PathLike]

    def of(self, split: str) -> Iterator[Piece]:
        """Those of a split in turn. ValueError names a file that cannot be read."""
        for file, local in self.files.items():
            try:
                with ZipFile(local) as archive:
                    for held in json.loads(archive.read(f"{split}.json")):
                        piece = Piece(**held)
                        flacs = [archive.read(_flac(row)) for row in piece.clips]
                        rows = zip(piece.clips, flacs, strict=True)
                        yield replace(piece, clips=[row | {"flac": flac} for row, flac in rows])
            except (BadZipFile, KeyError) as error:
                raise ValueError(
                    f"{file} is broken ({error}): remove it, and make this shard again"
                ) from error


def _write_pieces(
    archive: ZipFile, split: str, work: Work, numbers: Iterable[int]
) -> dict[str, str]:
    """Returns the clips that cannot be used, and why."""
    pieces: list[dict[str, Any]] = []
    problems: dict[str, str] = {}
    written = set(archive.namelist())
    for number in numbers:
        try:
            piece = work[number]
        except AudioError as error:
            if not work.places:
                raise
            problems[work.clip(number).name] = str(error)
            continue
        for row in piece.clips:
            if _flac(row) not in written:
                written.add(_flac(row))
                archive.writestr(_flac(row), row["flac"])
        told = [{name: row[name] for name in row if name != "flac"} for row in piece.clips]
        pieces.append({"clips": told, "pair": piece.pair, "named": piece.named})
    archive.writestr(f"{split}.json", json.dumps(pieces))
    return problems


def _flac(row: Mapping[str, Any]) -> str:
    return f"{row['sha256']}.flac"


def _shared(works: Mapping[str, Work], made_of: Mapping[str, str]) -> dict[str, Any]:
    return {
        split: {"pieces": len(work), "made_of": _told(split, work.source, made_of)}
        for split, work in works.items()
    }


def _told(split: str, source: Source, made_of: Mapping[str, str]) -> str:
    """What tells data from other data: SHA-256 of all that is said of the examples, where clips
    recur, so that folders may have other names elsewhere; else what a split is said to be made of.
    """
    if not isinstance(source, Recurring):
        if split not in made_of:
            raise ValueError(
                f"made_of does not say what split {split!r} is made of: shards need it"
            )
        return made_of[split]
    digest = hashlib.sha256()
    for index in range(len(source)):
        digest.update(repr(source.described(index)).encode())
    return digest.hexdigest()
