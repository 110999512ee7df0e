"""Writes ACD and CLD as tables, for users who own the audio of AudioCaps and Clotho.

The texts are those of `explanation_files`; a row of the tables is a pair and one tier. Clips that a
user cannot get are an error that lists them, unless they are excluded by name.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from etils import epath

from adiff_jax.audio.io import AudioError, read_audio
from adiff_jax.data.builders.clip_files import (
    Exclusions,
    covered,
    find_clips,
    read_exclusions,
    stem_of,
)
from adiff_jax.data.builders.explanation_files import ExplainedPair, read_pairs
from adiff_jax.data.builders.on_beam import BeamRunner
from adiff_jax.data.builders.published import build_published
from adiff_jax.data.builders.shards import Shard, ShardReport
from adiff_jax.data.builders.table_rows import TableReport
from adiff_jax.data.prompts import CANONICAL
from adiff_jax.data.schema import Clip, Coverage, Example, Truth


@dataclass(frozen=True)
class ExplanationFiles:
    """Where a user's copy lies: the audio folder, and of each split to build the CSV files of its
    tiers, in any order. `exclude` is a text file that names clips to do without. Clips are stored
    at `rate` Hz, the model's."""

    audio: str
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    exclude: str = ""
    rate: int = 32_000

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise ValueError(f"the rate is {self.rate}: say at how many Hz to store clips")


class ExplanationSource:
    """The pairs of one split, one example a tier, the tiers of a pair in a row.

    A `Recurring` source, and `Captioned`: the captions of a pair are the two that its texts were
    written from, those of a clip are all that the files hold of it. A clip counts as a recording.

    `tables` are the CSV files of the split's tiers. Pairs of a clip among `exclusions` are left
    out, which `coverage` counts. A clip that is not there is an AudioError when it is read.

    Errors: FileNotFoundError for a table that is not there, ValueError for tables that lack
    something or whose rows differ, naming the row.
    """

    def __init__(
        self,
        tables: Sequence[epath.PathLike],
        audio: epath.PathLike,
        exclusions: Exclusions = Exclusions(),  # noqa: B008 (frozen)
        rate: int = 32_000,
    ) -> None:
        self.rate = rate
        self._listed = read_pairs(tables)
        self._excluded = [name for name in _captions(self._listed) if name in exclusions]
        self.pairs = [pair for pair in self._listed if not {*self._excluded} & {*pair.clips}]
        if not self.pairs:
            raise ValueError(f"{tables[0]}: {exclusions.where} leaves none of its pairs")
        self.tiers = tuple(self.pairs[0].answers)
        self.clips = {
            name: Clip(name, captions, (stem_of(name),))
            for name, captions in _captions(self.pairs).items()
        }
        self._files = find_clips(self.clips, audio)

    @property
    def coverage(self) -> Coverage:
        return self.coverage_without(())

    def coverage_without(self, names: Iterable[str]) -> Coverage:
        """The coverage if the clips `names` were excluded too."""
        return covered([pair.clips for pair in self._listed], [*self._excluded, *names])

    def __len__(self) -> int:
        return len(self.pairs) * len(self.tiers)

    def __getitem__(self, index: int) -> Example:
        example = self.described(index)
        return replace(example, waves=tuple(self.wave(clip.name) for clip in example.clips))

    def described(self, index: int) -> Example:
        pair, truth = self._pair(index), self.truth(index)
        return Example(
            id=truth.id,
            waves=(),
            rate=self.rate,
            captions=truth.references,
            scene=" ".join(pair.clips),  # texts of one pair are no negatives of each other
            recordings=truth.recordings,
            prompt=truth.prompt,
            tier=truth.tier,
            clips=tuple(self.clips[name] for name in pair.clips),
        )

    def wave(self, name: str) -> np.ndarray:
        if name not in self._files:
            raise AudioError(f"{name}: there is no such file")
        # Resampling and lossy codecs overshoot full scale, which FLAC cannot hold.
        return np.clip(read_audio(self._files[name], self.rate), -1.0, 1.0)

    def clip_captions(self, index: int) -> tuple[tuple[str, ...], ...]:
        first, second = self._pair(index).captions
        return (first,), (second,)

    def truth(self, index: int) -> Truth:
        pair, tier = self._pair(index), self.tiers[index % len(self.tiers)]
        return Truth(
            id=f"{pair.id}/tier-{tier}",
            references=(pair.answers[tier],),
            edits=None,
            recordings=tuple(sorted({stem_of(name) for name in pair.clips})),
            prompt=CANONICAL[f"tier-{tier}"],
            tier=tier,
        )

    def texts(self) -> Iterator[str]:
        for pair in self.pairs:
            yield from pair.answers.values()

    def _pair(self, index: int) -> ExplainedPair:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of a source of {len(self)}")
        return self.pairs[index // len(self.tiers)]


def build_explanations(
    config: ExplanationFiles,
    out_dir: epath.PathLike,
    progress: bool = True,
    by: BeamRunner | Shard | None = None,
) -> TableReport | ShardReport:
    """Write the splits of `config` as tables, which carry their coverage.

    Errors: as the source and `build_published`; ValueError for an excluded clip that no table
    names. The list of clips that cannot be had may be given as `exclude`.
    """
    exclusions = read_exclusions(config.exclude)
    tables = {"train": config.train, "validation": config.validation, "test": config.test}
    tables = {split: files for split, files in tables.items() if files}
    if not tables:
        raise ValueError("ExplanationFiles names no CSV file: set train, validation or test")
    exclusions.check({name for f in tables.values() for p in read_pairs(f) for name in p.clips})
    sources = {
        split: ExplanationSource(files, config.audio, exclusions, config.rate)
        for split, files in tables.items()
    }
    return build_published(sources, config.audio, exclusions.names, out_dir, progress, by)


def _captions(pairs: Iterable[ExplainedPair]) -> dict[str, tuple[str, ...]]:
    """Every clip of the pairs with all its captions, in the order in which they occur."""
    found: dict[str, dict[str, None]] = {}
    for pair in pairs:
        for name, caption in zip(pair.clips, pair.captions, strict=True):
            found.setdefault(name, {})[caption] = None
    return {name: tuple(captions) for name, captions in found.items()}
