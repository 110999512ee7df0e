"""Writes any source as two tables, each clip once however many pairs use it.

`clips` holds the audio as FLAC bytes at its own rate, `pairs` everything else; the layout and the
reader are in `adiff_jax.data.builders.table_source`. Both are TFDS datasets in ArrayRecord files,
in the order of the source, and are written without tensorflow: `features.Audio` would import it,
so the FLAC bytes are a scalar `Tensor` of dtype object.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from tqdm import tqdm

from adiff_jax.audio.io import AudioError, encode_flac
from adiff_jax.data.builders.table_source import NO_CLIP, VERSION, edits_to_rows
from adiff_jax.data.schema import (
    Captioned,
    Clip,
    Coverage,
    Example,
    Recurring,
    Source,
    coverage_of,
)
from adiff_jax.storage import is_remote, located, upload

_Row = dict[str, Any]
_Identity = Clip | tuple[str, Clip | None]


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


def build_tables(
    source_by_split: Mapping[str, Source], out_dir: epath.PathLike, progress: bool = True
) -> TableReport:
    """Write `source_by_split` into the new directory `out_dir`, local or in a bucket. For a bucket
    they are made in a temporary folder (TMPDIR), which must have room for them.

    Errors: FileExistsError where there are tables already, ValueError for an empty split,
    AudioError and whatever else a source raises.
    """
    out = located(out_dir)
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
    if is_remote(out):  # ArrayRecord writes to disks only
        with TemporaryDirectory(prefix="adiff-") as folder:
            _prepare(joiner, epath.Path(folder))
            upload(Path(folder), out)
    else:
        _prepare(joiner, out)
    return joiner.report


def _prepare(joiner: "_Joiner", out: epath.Path) -> None:
    for builder_type in (Clips, Pairs):
        builder = builder_type(joiner, data_dir=out, file_format="array_record")
        # TFDS announces a download that does not happen, and makes a folder for it.
        with redirect_stdout(None), TemporaryDirectory() as nothing:
            builder.download_and_prepare(download_dir=nothing)


class _Joiner:
    """Reads every source once: hands out new clips and remembers the rows of `pairs`."""

    def __init__(self, source_by_split: Mapping[str, Source], progress: bool) -> None:
        self.sources = source_by_split
        self.progress = progress
        self.pairs: dict[str, list[_Row]] = {}
        known = {split: coverage_of(source) for split, source in source_by_split.items()}
        self.report = TableReport(coverage={split: it for split, it in known.items() if it})
        self._first_place: dict[str, tuple[str, str]] = {}

    def clips(self, split: str) -> Iterator[_Row]:
        source = self.sources[split]
        places: dict[_Identity, int] = {}
        pairs = self.pairs[split] = []
        bar = tqdm(range(len(source)), f"build {split}", unit="pair", disable=not self.progress)
        for index in bar:
            example, clips = _opened(source, index)
            numbers = []
            for identity, make_row in clips:
                if identity not in places:
                    places[identity] = len(places)
                    row = make_row()
                    self._note_shared(split, row["name"], row["sha256"])
                    yield row
                numbers.append(places[identity])
            pairs.append(_pair_row(example, numbers, _captions(source, index, example)))
        self.report.clips[split], self.report.pairs[split] = len(places), len(pairs)

    def _note_shared(self, split: str, name: str, digest: str) -> None:
        first_split, first_name = self._first_place.setdefault(digest, (split, name))
        if first_split != split:
            self.report.shared.append(
                f"{first_split} {first_name} = {split} {name} (SHA-256 {digest})"
            )


def _opened(
    source: Source, index: int
) -> tuple[Example, list[tuple[_Identity, Callable[[], _Row]]]]:
    """Example `index`, and the identity of each of its clips with what makes its row.

    Clips are the same when they have the same bytes and are described in the same way. A source
    whose clips recur says so without reading them.
    """
    if isinstance(source, Recurring):
        example = source.described(index)
        return example, [
            (clip, partial(_recurring_row, source, clip, example)) for clip in example.clips
        ]
    example = source[index]
    clips: list[tuple[_Identity, Callable[[], _Row]]] = []
    for place, (clip, wave) in enumerate(zip(example.described_clips, example.waves, strict=True)):
        row = _clip_row(clip, wave, example)
        told = example.clips[place] if example.clips else None
        clips.append(((row["sha256"], told), partial(dict, row)))
    return example, clips


def _recurring_row(source: Recurring, clip: Clip, example: Example) -> _Row:
    return _clip_row(clip, source.wave(clip.name), example)


def _clip_row(clip: Clip, wave: np.ndarray, example: Example) -> _Row:
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


def _captions(source: Source, index: int, example: Example) -> tuple[tuple[str, ...], ...]:
    if isinstance(source, Captioned):
        return source.clip_captions(index)
    return tuple(clip.captions for clip in example.clips)


def _pair_row(example: Example, numbers: list[int], captions: tuple[tuple[str, ...], ...]) -> _Row:
    clip_1, clip_2 = (*numbers, NO_CLIP)[:2]
    captions_1, captions_2 = (*captions, (), ())[:2]
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
            metadata=tfds.core.MetadataDict(
                coverage={split: asdict(it) for split, it in self._joiner.report.coverage.items()}
            ),
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
                "captions_1": tfds.features.Sequence(text),
                "captions_2": tfds.features.Sequence(text),
                "heard": text,
            },
        )

    def _generate_examples(self, split: str) -> Iterator[tuple[int, _Row]]:
        yield from enumerate(self._joiner.pairs[split])
