"""The rows of the two tables, from any source: each clip once however many pairs use it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
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


class Joiner:
    """Reads every source once: hands out new clips and remembers the rows of `pairs`."""

    def __init__(self, source_by_split: Mapping[str, Source], progress: bool) -> None:
        self.sources = source_by_split
        self.pairs: dict[str, list[Row]] = {}
        known = {split: coverage_of(source) for split, source in source_by_split.items()}
        self.report = TableReport(coverage={split: it for split, it in known.items() if it})
        self._progress = progress
        self._first_place: dict[str, tuple[str, str]] = {}

    def clips(self, split: str) -> Iterator[Row]:
        """The rows of `clips`, in the order in which the examples of `split` need them."""
        source = self.sources[split]
        if isinstance(source, Recurring):
            rows = self._rows_in_places(split, source)
        else:
            rows = self._rows_told_apart(split, source)
        for row in rows:
            self.note(split, row["name"], row["sha256"])
            yield row

    def places(self, split: str, source: Recurring) -> list[Place]:
        """Where each clip of a source whose clips recur is met first, in the order of the rows of
        `clips`. No audio is read."""
        numbers: dict[Clip, int] = {}
        places: list[Place] = []
        pairs = []
        for index in range(len(source)):
            example = source.described(index)
            for which, clip in enumerate(example.clips):
                if clip not in numbers:
                    numbers[clip] = len(places)
                    places.append((index, which))
            pairs.append(_pair_row(source, index, example, [numbers[c] for c in example.clips]))
        self._remember(split, len(places), pairs)
        return places

    def note(self, split: str, name: str, digest: str) -> None:
        """Report the clip `name` of `split` if an earlier split holds audio of this SHA-256."""
        first_split, first_name = self._first_place.setdefault(digest, (split, name))
        if first_split != split:
            self.report.shared.append(
                f"{first_split} {first_name} = {split} {name} (SHA-256 {digest})"
            )

    def _rows_in_places(self, split: str, source: Recurring) -> Iterator[Row]:
        places = self.places(split, source)
        for place in tqdm(places, f"build {split}", unit="clip", disable=not self._progress):
            yield clip_row(source, place)

    def _rows_told_apart(self, split: str, source: Source) -> Iterator[Row]:
        """Clips are the same when they have the same bytes and are described in the same way."""
        numbers: dict[tuple[str, Clip | None], int] = {}
        pairs = []
        bar = tqdm(range(len(source)), f"build {split}", unit="pair", disable=not self._progress)
        for index in bar:
            example = source[index]
            clips = zip(example.described_clips, example.waves, strict=True)
            own = []
            for which, (clip, wave) in enumerate(clips):
                row = _clip_row(clip, wave, example)
                identity = (row["sha256"], example.clips[which] if example.clips else None)
                if identity not in numbers:
                    numbers[identity] = len(numbers)
                    yield row
                own.append(numbers[identity])
            pairs.append(_pair_row(source, index, example, own))
        self._remember(split, len(numbers), pairs)

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


def _pair_row(source: Source, index: int, example: Example, numbers: list[int]) -> Row:
    clip_1, clip_2 = (*numbers, NO_CLIP)[:2]
    captions_1, captions_2 = (*_captions(source, index, example), (), ())[:2]
    return {
        "id": example.id,
        "clip_1": clip_1,
        "clip_2": clip_2,
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
