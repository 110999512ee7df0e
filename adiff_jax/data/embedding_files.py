"""The directory of an embedding cache: what lies where, written so that jobs can share the work.

    about.json                      what the embeddings are made of; the first job writes it
    examples.jsonl                  one example a line: itself, its truth, the numbers of its clips
    source.json                     what a vocabulary is built from, and the coverage
    shard-00003-of-00016.npy        [rows d] float32, the crops of its clips in turn
    shard-00003-of-00016.jsonl      one clip a line: name, SHA-256 of its samples, how many crops

Clips are numbered as the examples first name them; a shard holds consecutive ones, so that both
clips of a pair are read at once (`shard_range`). Every file appears whole or not at all, and a
shard's list of clips comes last: a shard that has one is finished.
The directory is on a disk that all jobs see, or in a bucket.
"""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from etils import epath

from adiff_jax.data.features import ABOUT, read_about
from adiff_jax.data.schema import Coverage
from adiff_jax.storage import located, mappable, write_first, write_whole

FORM = 2
"""What `about.json` says of how clips lie in shards; another number is of another version."""


@dataclass(frozen=True)
class ClipPlace:
    """Where a clip is heard first: clip `place` of example `example`, both counted from 0."""

    name: str
    example: int
    place: int


@dataclass(frozen=True)
class StoredClip:
    """A clip of a finished shard: the SHA-256 of its samples in hex, and its number of crops."""

    name: str
    sha256: str
    crops: int


@dataclass(frozen=True)
class KeptSource:
    """What a cache keeps of its source: a JSON line an example, texts to build a vocabulary from,
    and how much of what was listed is there."""

    lines: list[str]
    texts: list[str]
    coverage: Coverage | None = None


@dataclass(frozen=True)
class EmbeddingFiles:
    """Names of everything in one cache. Making one touches no file."""

    path: epath.Path

    @classmethod
    def at(cls, path: epath.PathLike) -> "EmbeddingFiles":
        """The cache at a path, local or `gs://`."""
        return cls(located(path))

    def about(self) -> dict[str, Any] | None:
        """What the cache says of itself; None where there is none.

        Raises ValueError for a cache of another version, whose shards hold other clips.
        """
        about = read_about(str(self.path))
        if about is not None and about.get("form") != FORM:
            raise ValueError(f"{self.path} is of another version of this package: {self._anew}")
        return about

    def claim(self, about: dict[str, Any]) -> None:
        """Write `about` unless a cache is there: read it afterwards, another job may be first.

        Raises ValueError for a directory that holds something else.
        """
        if self.about() is None and self.path.is_dir() and any(self.path.iterdir()):
            raise ValueError(f"{self.path} holds something else: name another directory")
        self.path.mkdir(parents=True, exist_ok=True)
        write_first(self.path / ABOUT, json.dumps({"form": FORM, **about}, indent=2))

    def has_examples(self) -> bool:
        """Whether the examples have been written."""
        return self._examples.exists() and self._source.exists()

    def write_examples(self, kept: KeptSource) -> None:
        """Write what a cache keeps of its source."""
        write_whole(self._examples, _joined(kept.lines))
        coverage = None if kept.coverage is None else asdict(kept.coverage)
        write_whole(self._source, json.dumps({"texts": kept.texts, "coverage": coverage}))

    def examples(self) -> KeptSource:
        """What was written."""
        with _readable(self._source, self._anew):
            rest = json.loads(self._source.read_text())
            coverage = None if rest["coverage"] is None else Coverage(**rest["coverage"])
        return KeptSource(self.example_lines(), rest["texts"], coverage)

    def example_lines(self) -> list[str]:
        """The lines of it, one an example. Raises ValueError when the last one is cut off."""
        text = self._examples.read_text()
        with _readable(self._examples, self._anew):
            if not text.endswith("\n"):
                raise ValueError("its last line has no end")
        return text.splitlines()

    def parsed(self, line: str, number: int) -> dict[str, Any]:
        """One of these lines. Raises ValueError that names it, counted from 0."""
        with _readable(self._examples, self._anew):
            return _row(line, number)

    def clip_places(self) -> list[ClipPlace]:
        """`clip_places` of these lines."""
        lines = self.example_lines()
        with _readable(self._examples, self._anew):
            return clip_places(lines)

    def has_shard(self, shard: int, shards: int) -> bool:
        """Whether a shard is finished."""
        return self._clips(shard, shards).exists()

    def write_shard(
        self, shard: int, shards: int, clips: Sequence[StoredClip], embeddings: np.ndarray
    ) -> None:
        """Write a shard: `embeddings` [rows d] holds the crops of each clip in turn."""
        rows = io.BytesIO()
        np.save(rows, embeddings)
        write_whole(self._embeddings(shard, shards), rows.getvalue())
        lines = [
            json.dumps({"clip": clip.name, "sha256": clip.sha256, "crops": clip.crops})
            for clip in clips
        ]
        write_whole(self._clips(shard, shards), _joined(lines))

    def drop_shard(self, shard: int, shards: int) -> None:
        """Make a finished shard one that is to be written."""
        self._clips(shard, shards).unlink()

    def shard_clips(self, shard: int, shards: int) -> list[StoredClip]:
        """The clips of a finished shard, in order."""
        file = self._clips(shard, shards)
        with _readable(file, _again(file)):
            rows = map(json.loads, file.read_text().splitlines())
            return [StoredClip(row["clip"], row["sha256"], row["crops"]) for row in rows]

    def shard_embeddings(self, shard: int, shards: int) -> np.ndarray:
        """[rows d] of a finished shard, mapped into memory; from a bucket, a copy of it."""
        file = self._embeddings(shard, shards)
        with _readable(file, _again(self._clips(shard, shards))):
            found: np.ndarray = np.load(mappable(file), mmap_mode="r")
        return found

    @property
    def _anew(self) -> str:
        return f"remove {self.path} and embed again"

    @property
    def _examples(self) -> epath.Path:
        return self.path / "examples.jsonl"

    @property
    def _source(self) -> epath.Path:
        return self.path / "source.json"

    def _embeddings(self, shard: int, shards: int) -> epath.Path:
        return self.path / f"shard-{shard:05d}-of-{shards:05d}.npy"

    def _clips(self, shard: int, shards: int) -> epath.Path:
        return self._embeddings(shard, shards).with_suffix(".jsonl")


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _again(clips: epath.Path) -> str:
    return f"remove {clips}, and `adiff data embed` writes this shard again"


def clip_places(lines: Sequence[str]) -> list[ClipPlace]:
    """Every clip of the lines of examples by its number, where it is heard first."""
    found: list[ClipPlace] = []
    for index, line in enumerate(lines):
        row = _row(line, index)
        for place, number in enumerate(row["clips"]):
            if number == len(found):
                found.append(ClipPlace(row["example"]["clips"][place]["name"], index, place))
    return found


def _row(line: str, number: int) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError as error:
        raise ValueError(f"line {number + 1}: {error}") from error


@contextmanager
def _readable(file: epath.Path, way_out: str) -> Iterator[None]:
    """ValueError that names `file`, and says what to do, for what cannot be read."""
    try:
        yield
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{file} is damaged ({error}): {way_out}") from error
