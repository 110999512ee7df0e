"""Writes any source as two tables, each clip once however many pairs use it.

`clips` holds the audio as FLAC bytes at its own rate, `pairs` everything else; the layout and the
reader are in `adiff_jax.data.builders.table_source`. Both are TFDS datasets in ArrayRecord files,
in the order of the source, and are written without tensorflow: `features.Audio` would import it,
so the FLAC bytes are a scalar `Tensor` of dtype object.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from adiff_jax.data.builders.on_beam import BeamRunner, numbered_rows, take_gathered
from adiff_jax.data.builders.shards import MadePieces, Shard, ShardReport, Shards
from adiff_jax.data.builders.table_rows import Joiner, Piece, TableReport, Work
from adiff_jax.data.builders.table_source import VERSION
from adiff_jax.data.schema import Recurring, Source
from adiff_jax.storage import is_remote, located, upload


def build_tables(
    source_by_split: Mapping[str, Source],
    out_dir: epath.PathLike,
    progress: bool = True,
    by: BeamRunner | Shard | None = None,
    made_of: Mapping[str, str] = MappingProxyType({}),
) -> TableReport | ShardReport:
    """Write `source_by_split` into the new directory `out_dir`, local or in a bucket. For a bucket
    they are made in a temporary folder (TMPDIR), which must have room for them.

    `by` others than this process alone the clips are read and encoded; the rows and their order are
    the same. The workers of a Beam runner do all of it. A shard is written below `out_dir`, and
    nothing else; where there are shards, they are joined without `by`, and removed. For shards,
    `made_of` says of every split whose source is not `Recurring` what tells it from others.

    Errors: FileExistsError where there are tables already, ValueError for an empty split, with Beam
    for a source that is not `Recurring`, and as `Shards`; AudioError and whatever else a source
    raises, which is BeamError where a worker raises it.
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
    shards, beam = Shards(out), by if isinstance(by, BeamRunner) else None
    if beam and shards.begun():
        raise ValueError(f"{shards.folder} holds shards: join them without Beam, or remove it")
    works = {split: Work(source) for split, source in source_by_split.items()}
    if isinstance(by, Shard):
        return shards.write(by, works, made_of, progress)
    made = shards.made(works, made_of) if shards.begun() else None
    report = _write_to(out, Joiner(works, progress), made, beam)
    if made:
        shards.remove()
    return report


def _write_to(
    out: epath.Path, joiner: Joiner, made: MadePieces | None, beam: BeamRunner | None
) -> TableReport:
    tfds.disable_progress_bar()  # ours knows the totals
    if is_remote(out):  # ArrayRecord writes to disks only
        if beam:
            raise ValueError(
                f"{out} is in a bucket, and Beam's workers write tables to a disk that all of them "
                "see: name a directory there, and copy it"
            )
        with TemporaryDirectory(prefix="adiff-") as folder:
            _write(joiner, epath.Path(folder), made, None)
            upload(Path(folder), out)
    else:
        _write(joiner, out, made, beam)
    return joiner.report


def _write(
    joiner: Joiner, out: epath.Path, made: MadePieces | None, beam: BeamRunner | None
) -> None:
    def pieces(split: str) -> Iterable[Piece]:
        work = joiner.works[split]
        return made.of(split) if made else (work[number] for number in range(len(work)))

    if beam:
        _write_clips_on_beam(joiner, out, beam)
    else:
        _prepare(Clips(joiner, lambda split: enumerate(joiner.clips(split, pieces(split))), out))
    _prepare(Pairs(joiner, lambda split: enumerate(joiner.pairs[split]), out))


def _write_clips_on_beam(joiner: Joiner, out: epath.Path, beam: BeamRunner) -> None:
    sources = {}
    for split, work in joiner.works.items():
        source = work.source
        if not isinstance(source, Recurring):
            raise ValueError(
                f"{type(source).__name__} must read its clips in order to tell them apart: build "
                "its tables without Beam"
            )
        sources[split] = source
    # Beside the table's versions: what a build that broke off leaves is deleted with it.
    digests = {split: out / "clips" / f"digests-{split}.json" for split in sources}

    def rows(split: str) -> Any:
        return numbered_rows(sources[split], joiner.planned(split), digests[split])

    with beam.running() as options:
        _prepare(Clips(joiner, rows, out), beam_runner=beam.name, beam_options=options)
    for split, file in digests.items():
        for _, name, digest in take_gathered(file):
            joiner.note(split, name, digest)


def _prepare(builder: "_TableBuilder", **how: Any) -> None:
    # TFDS announces a download that does not happen, and makes a folder for it.
    with redirect_stdout(None), TemporaryDirectory() as nothing:
        builder.download_and_prepare(
            download_dir=nothing, download_config=tfds.download.DownloadConfig(**how)
        )


class _TableBuilder(tfds.core.GeneratorBasedBuilder):
    """Rows in the order they are generated; TFDS would otherwise sort them by a hash."""

    VERSION = tfds.core.Version(VERSION)
    code_path = None  # no checksums or metadata files lie beside this module: nothing to look for

    def __init__(self, joiner: Joiner, rows: Callable[[str], Any], out: epath.Path) -> None:
        """`rows` gives the numbered rows of a split, or the Beam transform that makes them."""
        self._joiner, self._rows = joiner, rows
        super().__init__(data_dir=out, file_format="array_record")

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
        return {split: self._generate_examples(split) for split in self._joiner.works}

    def _generate_examples(self, split: str) -> Any:
        return self._rows(split)


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
