"""Writes any source as two tables, each clip once however many pairs use it.

`clips` holds the audio as FLAC bytes at its own rate, `pairs` everything else; the layout and the
reader are in `adiff_jax.data.builders.table_source`. Both are TFDS datasets in ArrayRecord files,
in the order of the source, and are written without tensorflow: `features.Audio` would import it,
so the FLAC bytes are a scalar `Tensor` of dtype object.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tqdm import tqdm

from adiff_jax.audio.io import AudioError, encode_flac
from adiff_jax.data.builders.table_source import NO_CLIP, VERSION, edits_to_rows
from adiff_jax.data.schema import Clip, Example, Source

_Row = dict[str, Any]


@dataclass
class TableReport:
    """What was written: numbers by split, and the audio that more than one split holds."""

    clips: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{split}: {self.pairs[split]} pairs of {self.clips[split]} clips"
            for split in self.pairs
        ]
        if self.shared:
            lines.append(f"{len(self.shared)} clips are in more than one split:")
            lines += [f"  {line}" for line in self.shared]
        return "\n".join(lines)


def build_tables(
    source_by_split: Mapping[str, Source], out_dir: epath.PathLike, progress: bool = True
) -> TableReport:
    """Write `source_by_split` into the new directory `out_dir`, local or in a bucket.

    Errors: FileExistsError where there are tables already, ValueError for an empty split,
    AudioError and whatever else a source raises.
    """
    out = epath.Path(out_dir)
    for name in ("clips", "pairs"):
        if (out / name).exists():
            raise FileExistsError(
                f"{out / name} exists: name another directory, or delete it if a build broke off"
            )
    if not source_by_split:
        raise ValueError("source_by_split is empty: no split to build")
    for split, source in source_by_split.items():
        if len(source) == 0:
            raise ValueError(f"the source of split {split!r} holds no examples")
    tfds.disable_progress_bar()  # ours knows the totals
    joiner = _Joiner(source_by_split, progress)
    for builder_type in (Clips, Pairs):
        builder = builder_type(joiner, data_dir=out, file_format="array_record")
        # TFDS announces a download that does not happen, and makes a folder for it.
        with redirect_stdout(None), TemporaryDirectory() as nothing:
            builder.download_and_prepare(download_dir=nothing)
    return joiner.report


class _Joiner:
    """Reads every source once: hands out new clips and remembers the rows of `pairs`."""

    def __init__(self, source_by_split: Mapping[str, Source], progress: bool) -> None:
        self.sources = source_by_split
        self.progress = progress
        self.pairs: dict[str, list[_Row]] = {}
        self.report = TableReport()
        self._first_place: dict[str, tuple[str, str]] = {}

    def clips(self, split: str) -> Iterator[_Row]:
        source = self.sources[split]
        places: dict[tuple[str, Clip | None], int] = {}
        pairs = self.pairs[split] = []
        bar = tqdm(range(len(source)), f"build {split}", unit="pair", disable=not self.progress)
        for index in bar:
            example = source[index]
            numbers = []
            for clip, row, identity in _clip_rows(example):
                if identity not in places:
                    places[identity] = len(places)
                    self._note_shared(split, clip, row["sha256"])
                    yield row
                numbers.append(places[identity])
            pairs.append(_pair_row(example, numbers))
        self.report.clips[split], self.report.pairs[split] = len(places), len(pairs)

    def _note_shared(self, split: str, clip: Clip, digest: str) -> None:
        first_split, first_name = self._first_place.setdefault(digest, (split, clip.name))
        if first_split != split:
            self.report.shared.append(
                f"{first_split} {first_name} = {split} {clip.name} (SHA-256 {digest})"
            )


def _clip_rows(example: Example) -> Iterator[tuple[Clip, _Row, tuple[str, Clip | None]]]:
    """Each clip with its row and its identity: the same bytes, described in the same way."""
    for place, (clip, wave) in enumerate(zip(example.described_clips, example.waves, strict=True)):
        try:
            flac = encode_flac(wave, example.rate)
        except AudioError as error:
            raise AudioError(f"clip {clip.name} of {example.id}: {error}") from error
        digest = hashlib.sha256(flac).hexdigest()
        row = {
            "name": clip.name,
            "flac": flac,
            "rate": example.rate,
            "sha256": digest,
            "captions": list(clip.captions),
            "recordings": list(clip.recordings),
        }
        yield clip, row, (digest, example.clips[place] if example.clips else None)


def _pair_row(example: Example, numbers: list[int]) -> _Row:
    clip_1, clip_2 = (*numbers, NO_CLIP)[:2]
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
    }


class _TableBuilder(tfds.core.GeneratorBasedBuilder):
    """Rows in the order they are generated; TFDS would otherwise sort them by a hash."""

    VERSION = tfds.core.Version(VERSION)
    code_path = None  # no checksums or metadata files lie beside this module: nothing to look for

    def __init__(self, joiner: _Joiner, **options: Any) -> None:
        self._joiner = joiner
        super().__init__(**options)

    def _dataset_info(self, description: str, features: dict[str, Any]) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=description,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        return {split: self._generate_examples(split) for split in self._joiner.sources}


class Clips(_TableBuilder):
    """Unique audio."""

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return self._dataset_info(
            "Unique clips as FLAC, with what is known of each alone.",
            {
                "name": text,
                "flac": tfds.features.Tensor(shape=(), dtype=np.object_),
                "rate": tfds.features.Scalar(np.int32),
                "sha256": text,
                "captions": tfds.features.Sequence(text),
                "recordings": tfds.features.Sequence(text),
            },
        )

    def _generate_examples(self, split: str) -> Iterator[tuple[int, _Row]]:
        yield from enumerate(self._joiner.clips(split))


class Pairs(_TableBuilder):
    """Pairs (or single clips) by the row numbers of their clips in the same split of `Clips`."""

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        number = tfds.features.Scalar(np.int32)
        return self._dataset_info(
            "Pairs of clips by row number, with references and edits.",
            {
                "id": text,
                "clip_1": number,
                "clip_2": number,
                "references": tfds.features.Sequence(text),
                "edits": text,
                "labels": tfds.features.Sequence(text),
                "scene": text,
                "recordings": tfds.features.Sequence(text),
                "prompt": text,
                "tier": number,
            },
        )

    def _generate_examples(self, split: str) -> Iterator[tuple[int, _Row]]:
        yield from enumerate(self._joiner.pairs[split])
