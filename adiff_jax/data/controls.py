"""Pairs that hear the clips of other pairs: what a model says of them, it has from the texts alone.

Which pair is heard is a function of (seed, index): rows are put into a random order, cut into
blocks, and permuted within each block such that none hears itself, nor a pair made of one of its
own recordings as long as the block holds any other way. So every pair is heard once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from adiff_jax.data.builders.table_source import Table
from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.data.features import CachedPairs
from adiff_jax.data.joined import Joined
from adiff_jax.data.schema import (
    Coverage,
    Example,
    Foretelling,
    Source,
    Truth,
    coverage_of,
    recordings_of,
)
from adiff_jax.data.sources import (
    CaptionedMixes,
    Explanations,
    NaturalPairs,
    RecipeFile,
    SynthPairs,
)

BLOCK = 64
"""Rows that are permuted among themselves; at most one less than twice as many in the last block.
Only their recordings are looked at."""


PairConfig = (
    SynthPairs
    | CaptionedMixes
    | NaturalPairs
    | RecipeFile
    | Table
    | Joined
    | Explanations
    | CachedPairs
    | CachedEmbeddings
)
"""Whatever holds pairs, or clips with captions."""


@dataclass(frozen=True)
class Shuffled:
    """The texts of `pairs`, each with the clips of another pair: a control.

    Ids, prompts, references, edits and what is said to be heard stay where they are.
    """

    pairs: PairConfig = field(default_factory=SynthPairs)
    seed: int = 0


class ShuffledSource:
    """The examples of `Shuffled`. A `Source`. Raises ValueError for fewer than two examples."""

    def __init__(self, pairs: Source, seed: int) -> None:
        if len(pairs) < 2:
            raise ValueError(
                f"Shuffled.pairs holds {len(pairs)} example: there is no other to hear"
            )
        self._pairs = pairs
        bits = np.random.PCG64(seed).random_raw(len(pairs))
        self._order = np.argsort(bits, kind="stable")
        self._place = np.empty_like(self._order)
        self._place[self._order] = np.arange(len(pairs))
        self._blocks = max(1, len(pairs) // BLOCK)
        self._heard: dict[int, list[int]] = {}  # rows by block, in the order of those that hear

    def __len__(self) -> int:
        return len(self._pairs)

    def heard_by(self, index: int) -> int:
        """The row whose clips row `index` hears; never itself."""
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of a source of {len(self)}")
        place = int(self._place[index])
        block = min(place // BLOCK, self._blocks - 1)
        if block not in self._heard:
            end = None if block == self._blocks - 1 else (block + 1) * BLOCK
            rows = self._order[block * BLOCK : end].tolist()
            heard = [frozenset(recordings_of(self._pairs, row)) for row in rows]
            self._heard[block] = [rows[other] for other in apart(heard)]
        return self._heard[block][place - block * BLOCK]

    def __getitem__(self, index: int) -> Example:
        truth = self._pairs.truth(index)
        # Whatever is heard, and how it is called, is the other's.
        return replace(
            self._pairs[self.heard_by(index)],
            id=truth.id,
            captions=truth.references,
            edits=truth.edits,
            recordings=truth.recordings,
            prompt=truth.prompt,
            tier=truth.tier,
            heard=truth.heard,
            backgrounds=truth.backgrounds,
        )

    def truth(self, index: int) -> Truth:
        return self._pairs.truth(index)

    def longest_texts(self, index: int) -> tuple[str, ...]:
        """Texts of which one is as long as any reference of row `index`; no audio is made where
        the pairs need none for that."""
        if isinstance(self._pairs, Foretelling):
            return self._pairs.longest_texts(index)
        return self._pairs.truth(index).references

    def texts(self) -> Iterator[str]:
        yield from self._pairs.texts()

    @property
    def coverage(self) -> Coverage | None:
        return coverage_of(self._pairs)


def apart(recordings: Sequence[frozenset[str]]) -> list[int]:
    """For each of two or more sets, which other one it is given: a permutation without fixed points
    in which as few as possible share anything with what they are given.

    Pairs are matched by augmenting paths (Kuhn), in the order in which they come.
    """
    count = len(recordings)
    takers: dict[int, int] = {}

    def find(one: int, tried: set[int]) -> bool:
        for step in range(1, count):
            other = (one + step) % count
            if other in tried or recordings[one] & recordings[other]:
                continue
            tried.add(other)
            if other not in takers or find(takers[other], tried):
                takers[other] = one
                return True
        return False

    without = [one for one in range(count) if not find(one, set())]
    left = [other for other in range(count) if other not in takers]
    given = {taker: other for other, taker in takers.items()} | dict(
        zip(without, left, strict=True)
    )
    for one in without:
        if given[one] == one:
            partner = (one + 1) % count
            given[one], given[partner] = given[partner], one
    return [given[one] for one in range(count)]
