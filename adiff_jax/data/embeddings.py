"""Examples whose clips are embeddings of a frozen encoder, several crops a clip.

`adiff data embed` writes them; they are read at memory speed, audio left behind. What differs from
`adiff_jax.data.features`: there the frames of pairs are kept, here one vector a crop of every
clip, once however many pairs it is in.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from adiff_jax.data.embedding_files import EmbeddingFiles, KeptSource
from adiff_jax.data.records import from_row, to_row
from adiff_jax.data.schema import Coverage, Example, Truth


@dataclass(frozen=True)
class CachedEmbeddings:
    """The embeddings in a directory, local or in a bucket, written by `adiff data embed`.

    Training hears one of the crops of a clip, drawn by (seed, epoch, step); evaluation hears the
    centre.
    """

    path: str


class EmbeddedSource:
    """Examples without audio, `Example.embeddings` in its place. A `Source`.

    Raises ValueError unless every shard is there.
    """

    def __init__(self, config: CachedEmbeddings) -> None:
        self.config = config
        self._files = EmbeddingFiles.at(config.path)
        about = self._files.about()
        if about is None or not self._files.has_examples():
            raise ValueError(f"{config.path} holds no embeddings; write them with {COMMAND}")
        self.about = about
        self._shards: int = about["shards"]
        missing = [i for i in range(self._shards) if not self._files.has_shard(i, self._shards)]
        if missing:
            raise ValueError(
                f"{config.path}: {len(missing)} of {self._shards} shards are missing, the first "
                f"is {missing[0]}; {COMMAND} goes on where it stopped"
            )

    def __len__(self) -> int:
        return len(self._kept.lines)

    def __getitem__(self, index: int) -> Example:
        row = self._row(index)
        example = from_row(Example, row["example"])
        return replace(example, embeddings=tuple(map(self._embedding, row["clips"])))

    def truth(self, index: int) -> Truth:
        return from_row(Truth, self._row(index)["truth"])

    def _row(self, index: int) -> dict[str, Any]:
        return self._files.parsed(self._kept.lines[index], index)

    def texts(self) -> Iterator[str]:
        yield from self._kept.texts

    @property
    def coverage(self) -> Coverage | None:
        """How much of what was listed the source held."""
        return self._kept.coverage

    def _embedding(self, clip: int) -> np.ndarray:
        """[K d] of a clip by its number; a copy, so that no file is mapped by what is kept."""
        shard = int(np.searchsorted(self._starts, clip, side="right")) - 1
        place = clip - self._starts[shard]
        rows, ends = self._opened[shard]
        return np.array(rows[ends[place - 1] if place else 0 : ends[place]])

    @cached_property
    def _kept(self) -> KeptSource:
        return self._files.examples()

    @cached_property
    def _opened(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every shard: its embeddings, and the row after the last crop of each clip."""
        found = []
        for shard in range(self._shards):
            clips = self._files.shard_clips(shard, self._shards)
            ends = np.cumsum([clip.crops for clip in clips], dtype=np.int64)
            found.append((self._files.shard_embeddings(shard, self._shards), ends))
        return found

    @cached_property
    def _starts(self) -> np.ndarray:
        """The number of the first clip of every shard."""
        return np.cumsum([0, *(len(ends) for _, ends in self._opened)])[:-1]

    def __getstate__(self) -> dict[str, Any]:
        # A worker maps the files itself.
        return {name: getattr(self, name) for name in ("config", "_files", "about", "_shards")}


COMMAND = "`adiff data embed CONFIG --encoder RUN --out DIR`"


def example_line(example: Example, truth: Truth, numbers: dict[str, int]) -> str:
    """The line of an example whose clips are named. `numbers` counts clips by name; those that are
    new to it are added.

    Raises ValueError for a field of the example that JSON cannot hold.
    """
    clips = [numbers.setdefault(clip.name, len(numbers)) for clip in example.clips]
    row = {"example": to_row(example), "truth": to_row(truth), "clips": clips}
    return json.dumps(row)
