"""Writes Clotho and AudioCaps as tables of single captioned clips, for users who own their audio.

The published tables, and where the files of their clips are looked for, are in `captioned_files`.
An example is one clip with all its captions as references. Clips that a user cannot get are an
error that lists them, unless they are excluded by name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from etils import epath

from adiff_jax.audio.io import AudioError, read_audio
from adiff_jax.data.builders.captioned_files import (
    AudioCaps,
    Clotho,
    ListedClip,
    find_listed,
    read_listed,
)
from adiff_jax.data.builders.clip_files import Exclusions, covered, read_exclusions
from adiff_jax.data.builders.on_beam import BeamRunner
from adiff_jax.data.builders.published import build_published
from adiff_jax.data.builders.shards import Shard, ShardReport
from adiff_jax.data.builders.table_rows import TableReport
from adiff_jax.data.schema import Clip, Coverage, Example, Truth


class CaptionedSource:
    """The clips of one split, one example each: a `Recurring` source with a coverage.

    `files` holds the files of the clips that are there, by name; a clip without one is an
    AudioError when it is read. Clips among `exclusions` are left out. A clip counts as a recording.

    Errors: ValueError for exclusions that leave nothing.
    """

    def __init__(
        self,
        listed: Sequence[ListedClip],
        files: Mapping[str, epath.Path],
        exclusions: Exclusions = Exclusions(),  # noqa: B008 (frozen)
        rate: int = 44_100,
    ) -> None:
        self.rate = rate
        self._files = files
        self._listed = listed
        self._excluded = {c.name for c in listed if any(n in exclusions for n in self._names(c))}
        self.clips = {
            clip.name: Clip(clip.name, clip.captions, (clip.name,))
            for clip in listed
            if clip.name not in self._excluded
        }
        if not self.clips:
            raise ValueError(f"{exclusions.where} leaves none of the {len(listed)} clips")
        self._order = list(self.clips)

    @property
    def names(self) -> set[str]:
        """Whatever a list of exclusions may call a clip: its name and its file's, in the table or
        in the folder."""
        return {name for clip in self._listed for name in self._names(clip)}

    @property
    def coverage(self) -> Coverage:
        return self.coverage_without(())

    def coverage_without(self, names: Iterable[str]) -> Coverage:
        """The coverage if the clips `names` were excluded too."""
        rows = [(clip.name,) for clip in self._listed for _ in range(clip.rows)]
        return covered(rows, {*self._excluded, *names})

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Example:
        return replace(self.described(index), waves=(self.wave(self._order[index]),))

    def described(self, index: int) -> Example:
        clip = self.clips[self._order[index]]
        return Example(
            id=clip.name,
            waves=(),
            rate=self.rate,
            captions=clip.captions,
            recordings=clip.recordings,
            clips=(clip,),
        )

    def wave(self, name: str) -> np.ndarray:
        if name not in self._files:
            raise AudioError(f"{name}: there is no such file")
        # Resampling and lossy codecs overshoot full scale, which FLAC cannot hold.
        return np.clip(read_audio(self._files[name], self.rate), -1.0, 1.0)

    def truth(self, index: int) -> Truth:
        clip = self.clips[self._order[index]]
        return Truth(clip.name, clip.captions, None, clip.recordings)

    def texts(self) -> Iterator[str]:
        for clip in self.clips.values():
            yield from clip.captions

    def _names(self, clip: ListedClip) -> tuple[str, ...]:
        file = self._files.get(clip.name)
        return (clip.name, *clip.spellings, *([file.name] if file else ()))


def captioned_sources(config: Clotho | AudioCaps) -> dict[str, CaptionedSource]:
    """The source of each split of `config`; no audio is read.

    Errors: as `read_listed`, `find_listed` and the source; ValueError for an excluded clip that no
    table names.
    """
    if not config.tables:
        raise ValueError(
            f"{type(config).__name__} names no CSV file: set train, validation or test"
        )
    exclusions = read_exclusions(config.exclude)
    listed = read_listed(config)
    sources = {
        split: CaptionedSource(listed[split], files, exclusions, config.rate)
        for split, files in find_listed(config, listed).items()
    }
    exclusions.check({name for source in sources.values() for name in source.names})
    return sources


def build_captioned(
    config: Clotho | AudioCaps,
    out_dir: epath.PathLike,
    progress: bool = True,
    by: BeamRunner | Shard | None = None,
) -> TableReport | ShardReport:
    """Write the splits of `config` as tables, which carry their coverage.

    Errors: as `captioned_sources` and `build_published`; the list of clips that cannot be had may
    be given as `exclude`.
    """
    sources = captioned_sources(config)
    excluded = read_exclusions(config.exclude).names
    return build_published(sources, config.audio, excluded, out_dir, progress, by)
