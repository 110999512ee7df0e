"""The rows of the two tables, from any source: each clip once however many pairs use it.

What costs time, to read or make clips and to encode them, is `Work`: pieces that any process does
alike. What must see all of a split is left to the `Joiner`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from adiff_jax.audio.io import AudioError, encode_flac
from adiff_jax.data.builders.table_source import NO_CLIP, edits_to_rows
from adiff_jax.data.schema import (
    Captioned,
    Clip,
    Coverage,
    Example,
    Recurring,
    Source,
    coverage_of,
    described,
)

Row = dict[str, Any]

Place = tuple[int, int]
"""Where a clip is: the number of an example, and which of its clips, from 0."""


@dataclass
class TableReport:
    """What was written: numbers by split, how much of what was listed that is where a source says
    so, and the audio that more than one split holds."""

    clips: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, Coverage] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{split}: {self.pairs[split]} pairs of {self.clips[split]} clips"
            for split in self.pairs
        ]
        lines += [f"{split}: coverage {found}" for split, found in self.coverage.items()]
        if self.shared:
            lines.append(f"{len(self.shared)} clips are in more than one split:")
            lines += [f"  {line}" for line in self.shared]
        return "\n".join(lines)


@dataclass(frozen=True)
class Piece:
    """What a piece of the work gives: rows of `clips`, and of an example its row of `pairs`, which
    does not number its clips yet. `named` is whether the source says which clips these are."""

    clips: list[Row]
    pair: Row | None = None
    named: bool = True


class Work:
    """The work of a source, in pieces: its clips, in the order in which its examples need them, if
    they recur; else its examples. To make this reads no audio, to take a piece does.

    `places` and `pairs` are those of a source whose clips recur, else empty: where each clip is met
    first, in the order of the rows of `clips`, and the rows of `pairs`.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.places: list[Place] = []
        self.pairs: list[Row] = []
        if isinstance(source, Recurring):
            self._plan(source)

    def __len__(self) -> int:
        return len(self.places) or len(self.source)

    def __getitem__(self, number: int) -> Piece:
        """Errors: AudioError for a clip that cannot be used; whatever else the source raises."""
        if isinstance(self.source, Recurring):
            return Piece([clip_row(self.source, self.places[number])])
        example = self.source[number]
        clips = zip(example.described_clips, example.waves, strict=True)
        rows = [_clip_row(clip, wave, example) for clip, wave in clips]
        return Piece(rows, _pair_row(self.source, number, example), bool(example.clips))

    @property
    def unit(self) -> str:
        """What a piece is called."""
        return "clip" if self.places else "pair"

    def clip(self, number: int) -> Clip:
        """The clip of a piece, of a source whose clips recur; no audio is read."""
        index, which = self.places[number]
        return described(self.source, index).clips[which]

    def _plan(self, source: Recurring) -> None:
        numbers: dict[Clip, int] = {}
        for index in range(len(source)):
            example = source.described(index)
            for which, clip in enumerate(example.clips):
                if clip not in numbers:
                    numbers[clip] = len(numbers)
                    self.places.append((index, which))
            row = _pair_row(source, index, example)
            self.pairs.append(row | _numbered([numbers[clip] for clip in example.clips]))


class Joiner:
    """Hands out each clip of the work of all splits once and remembers the rows of `pairs`."""

    def __init__(self, works: Mapping[str, Work], progress: bool) -> None:
        self.works = works
        self.pairs: dict[str, list[Row]] = {}
        known = {split: coverage_of(work.source) for split, work in works.items()}
        self.report = TableReport(coverage={split: it for split, it in known.items() if it})
        self._progress = progress
        self._first_place: dict[str, tuple[str, str]] = {}

    def clips(self, split: str, pieces: Iterable[Piece]) -> Iterator[Row]:
        """The rows of `clips`, in the order in which the examples of `split` need them, of all
        pieces of its work in turn.

        Clips are the same when they have the same bytes and are described in the same way.
        """
        work = self.works[split]
        numbers: dict[tuple[str, Clip | None], int] = {}
        pairs = []
        total, quiet = len(work), not self._progress
        for piece in tqdm(pieces, f"build {split}", total, unit=work.unit, disable=quiet):
            own = []
            for row in piece.clips:
                identity = (row["sha256"], _clip(row) if piece.named else None)
                if identity not in numbers:
                    numbers[identity] = len(numbers)
                    self.note(split, row["name"], row["sha256"])
                    yield row
                own.append(numbers[identity])
            if piece.pair is not None:
                pairs.append(piece.pair | _numbered(own))
        self._remember(split, len(numbers), work.pairs or pairs)

    def planned(self, split: str) -> list[Place]:
        """The places of a split whose clips recur, which somebody else makes the rows of."""
        work = self.works[split]
        self._remember(split, len(work.places), work.pairs)
        return work.places

    def note(self, split: str, name: str, digest: str) -> None:
        """Report the clip `name` of `split` if an earlier split holds audio of this SHA-256."""
        first_split, first_name = self._first_place.setdefault(digest, (split, name))
        if first_split != split:
            self.report.shared.append(
                f"{first_split} {first_name} = {split} {name} (SHA-256 {digest})"
            )

    def _remember(self, split: str, clips: int, pairs: list[Row]) -> None:
        self.pairs[split] = pairs
        self.report.clips[split], self.report.pairs[split] = clips, len(pairs)


def clip_row(source: Recurring, place: Place) -> Row:
    """The row of the clip at `place`. Errors: AudioError for a clip that cannot be used."""
    index, which = place
    example = source.described(index)
    clip = example.clips[which]
    return _clip_row(clip, source.wave(clip.name), example)


def _clip_row(clip: Clip, wave: np.ndarray, example: Example) -> Row:
    try:
        flac = encode_flac(wave, example.rate)
    except AudioError as error:
        raise AudioError(f"clip {clip.name} of {example.id}: {error}") from error
    return {
        "name": clip.name,
        "flac": flac,
        "rate": example.rate,
        "sha256": hashlib.sha256(flac).hexdigest(),
        "captions": list(clip.captions),
        "recordings": list(clip.recordings),
    }


def _clip(row: Row) -> Clip:
    return Clip(row["name"], tuple(row["captions"]), tuple(row["recordings"]))


def _numbered(numbers: list[int]) -> Row:
    clip_1, clip_2 = (*numbers, NO_CLIP)[:2]
    return {"clip_1": clip_1, "clip_2": clip_2}


def _pair_row(source: Source, index: int, example: Example) -> Row:
    captions_1, captions_2 = (*_captions(source, index, example), (), ())[:2]
    return {
        "id": example.id,
        "references": list(example.captions),
        "edits": json.dumps(edits_to_rows(example.edits)),
        "labels": list(example.labels),
        "scene": example.scene,
        "recordings": list(example.recordings),
        "prompt": example.prompt,
        "tier": example.tier,
        "captions_1": list(captions_1),
        "captions_2": list(captions_2),
        "heard": json.dumps([example.heard, example.backgrounds]),
    }


def _captions(source: Source, index: int, example: Example) -> tuple[tuple[str, ...], ...]:
    if isinstance(source, Captioned):
        return source.clip_captions(index)
    return tuple(clip.captions for clip in example.clips)
