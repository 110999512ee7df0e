"""Explanations in tiers with position captioning mixed in: the rows that ADIFF is trained on.

Each pair is explained once in every tier that is wanted; the rows after those ask for a caption of
the first clip, the second, or both, and their targets are captions of the clips alone. Which pair
and which question a row has is a function of its index.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from adiff_jax.data.prompts import CANONICAL
from adiff_jax.data.schema import (
    Captioned,
    Coverage,
    Example,
    Foretelling,
    Source,
    Truth,
    coverage_of,
    described,
    recordings_of,
)
from adiff_jax.data.synth import clip_captions
from adiff_jax.data.synth.made import EditedPairs

KINDS = ("caption-first", "caption-second", "caption-both")
_SAMPLED = 500  # pairs whose captions are in the texts of made pairs, for their lengths


def both(first: str, second: str) -> str:
    """What is said when both clips are to be captioned."""
    return f"Audio 1: {first}; audio 2: {second}"


def captioning_targets(kind: str, captions: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The answers to a question of `KINDS` about two clips with these captions each.

    Of both clips, every caption of either occurs. Errors: ValueError for a clip without captions.
    """
    first, second = captions
    if not first or not second:
        raise ValueError("a clip has no captions, which position captioning asks for")
    if kind == "caption-both":
        count = max(len(first), len(second))
        return tuple(both(first[i % len(first)], second[i % len(second)]) for i in range(count))
    return tuple(first if kind == "caption-first" else second)


class MadeTiers:
    """Pairs made on demand, explained when asked for; counted by explanation and by pair."""

    def __init__(self, pairs: EditedPairs, tiers: Sequence[int]) -> None:
        self._pairs = pairs.with_tier(0)
        self._explained = {tier: pairs.with_tier(tier) for tier in tiers}

    @property
    def rows(self) -> int:
        return self.pairs * len(self._explained)

    @property
    def pairs(self) -> int:
        return len(self._pairs)

    def row(self, number: int) -> tuple[Captioned, int, str]:
        """Where explanation `number` is: a source, an index, and what its id there lacks."""
        index, place = divmod(number, len(self._explained))
        tier = tuple(self._explained)[place]
        return self._explained[tier], index, f"/tier-{tier}"

    def pair(self, number: int) -> tuple[Captioned, int]:
        """Where pair `number` is, in whatever tier: a source and an index."""
        return self._pairs, number

    def texts(self) -> Iterator[str]:
        """Explanations that hold every word of all of them, and as good as the longest."""
        for source in self._explained.values():
            yield from source.texts()

    def caption_texts(self) -> Iterator[str]:
        """The same of the answers to captioning questions."""
        library = self._pairs.library
        for text in clip_captions.corpus(library.events, library.backgrounds):
            yield both(text, "")  # its words, once with those of `both`
        for index in range(min(_SAMPLED, self.pairs)):
            yield from captioning_targets("caption-both", self._pairs.clip_captions(index))


class StoredTiers:
    """Those explanations of a table that are in one of the wanted tiers; in the form of
    `MadeTiers`. Raises ValueError when there are none."""

    def __init__(self, source: Captioned, tiers: Sequence[int]) -> None:
        self._source = source
        truths = [source.truth(index) for index in range(len(source))]
        kept = [index for index, truth in enumerate(truths) if truth.tier in tiers]
        if not kept:
            there = ", ".join(str(tier) for tier in sorted({truth.tier for truth in truths}))
            raise ValueError(f"Explanations.tiers is {tuple(tiers)}; the pairs have tier {there}")
        first = {_pair_id(truths[index]): index for index in reversed(kept)}
        self._rows, self._pairs = np.array(kept), np.array(sorted(first.values()))

    @property
    def rows(self) -> int:
        return len(self._rows)

    @property
    def pairs(self) -> int:
        return len(self._pairs)

    def row(self, number: int) -> tuple[Captioned, int, str]:
        return self._source, int(self._rows[number]), ""

    def pair(self, number: int) -> tuple[Captioned, int]:
        return self._source, int(self._pairs[number])

    def texts(self) -> Iterator[str]:
        for index in self._rows:
            yield from self._source.truth(int(index)).references

    def caption_texts(self) -> Iterator[str]:
        for index in self._pairs:
            captions = self._source.clip_captions(int(index))
            yield from captioning_targets("caption-both", captions)


Tiered = MadeTiers | StoredTiers


class ExplanationRows:
    """Every explanation of `pairs`, then captioning rows, `captioning` of all rows in share.

    A `Source`. Captioning rows are spread evenly over pairs and questions, none twice; they have
    tier 0, no edits, and several captions where the clips have. Raises ValueError for a share that
    needs more of them than three a pair, and for clips without captions.
    """

    def __init__(self, pairs: Tiered, captioning: float) -> None:
        self._pairs = pairs
        share = Fraction(captioning).limit_denominator(10_000)
        self._captioning = round(pairs.rows * share / (1 - share))
        self._slots = pairs.pairs * len(KINDS)
        if self._captioning > self._slots:
            most = self._slots / (self._slots + pairs.rows)
            raise ValueError(
                f"Explanations.captioning is {captioning}; with {len(KINDS)} questions a pair it "
                f"can be {most:.3g} at most here"
            )
        if self._captioning:
            source, index = pairs.pair(0)
            self._targets(source, index, KINDS[-1])

    def __len__(self) -> int:
        return self._pairs.rows + self._captioning

    @property
    def coverage(self) -> Coverage | None:
        return coverage_of(self._pairs.row(0)[0])

    def __getitem__(self, index: int) -> Example:
        return self._example(index, lambda source, place: source[place])

    def described(self, index: int) -> Example:
        """Row `index` without its audio, which is made for references of tier 2 and 3 only."""
        return self._example(index, described)

    def _example(self, index: int, read: Callable[[Source, int], Example]) -> Example:
        question = self._question(index)
        if question is None:
            source, place, suffix = self._pairs.row(index)
            example = read(source, place)
            return replace(example, id=example.id + suffix)
        pair, kind = question
        truth = self.truth(index)
        source, place = self._pairs.pair(pair)
        return replace(
            read(source, place),
            id=truth.id,
            captions=truth.references,
            edits=truth.edits,
            prompt=truth.prompt,
            tier=truth.tier,
            heard=truth.heard,
            backgrounds=truth.backgrounds,
        )

    def truth(self, index: int) -> Truth:
        question = self._question(index)
        if question is None:
            source, place, suffix = self._pairs.row(index)
            truth = source.truth(place)
            return replace(truth, id=truth.id + suffix)
        pair, kind = question
        source, place = self._pairs.pair(pair)
        truth = source.truth(place)
        return Truth(
            id=f"{_pair_id(truth)}/{kind}",
            references=self._targets(source, place, kind),
            edits=None,
            recordings=truth.recordings,
            prompt=CANONICAL[kind],
        )

    def longest_texts(self, index: int) -> tuple[str, ...]:
        """Texts of which one is as long as any reference of row `index`; no audio is made."""
        if self._question(index) is None:
            source, place, _ = self._pairs.row(index)
            if isinstance(source, Foretelling):
                return source.longest_texts(place)
        return self.truth(index).references

    def recordings(self, index: int) -> tuple[str, ...]:
        """The original recordings heard in the clips of row `index`; no audio is made."""
        question = self._question(index)
        source, place = self._pairs.pair(question[0]) if question else self._pairs.row(index)[:2]
        return recordings_of(source, place)

    def clip_captions(self, index: int) -> tuple[tuple[str, ...], ...]:
        """The sentences about each clip of row `index`; no audio is made."""
        question = self._question(index)
        if question is not None:
            source, place = self._pairs.pair(question[0])
            return source.clip_captions(place)
        explained, place, _ = self._pairs.row(index)
        return explained.clip_captions(place)

    def texts(self) -> Iterator[str]:
        yield from self._pairs.texts()
        if self._captioning:
            yield from self._pairs.caption_texts()

    def _question(self, index: int) -> tuple[int, str] | None:
        """The pair that row `index` is about and what it asks; None for an explanation."""
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of a source of {len(self)}")
        if index < self._pairs.rows:
            return None
        slot = (index - self._pairs.rows) * self._slots // self._captioning
        pair, turn = divmod(slot, len(KINDS))
        # Shifted by a hash: a share of one slot in three would ask the same of all pairs, and made
        # pairs take their operations in turn.
        return pair, KINDS[(turn + zlib.crc32(str(pair).encode())) % len(KINDS)]

    def _targets(self, source: Captioned, place: int, kind: str) -> tuple[str, ...]:
        try:
            return captioning_targets(kind, source.clip_captions(place))
        except ValueError as error:
            raise ValueError(f"pair {_pair_id(source.truth(place))}: {error}") from error


def _pair_id(truth: Truth) -> str:
    return truth.id.removesuffix(f"/tier-{truth.tier}")
