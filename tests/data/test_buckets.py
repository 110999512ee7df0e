"""Batches of one bucket: which rows they hold, that they are cut to it."""

import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adiff_jax.data.buckets import BucketOrder, caption_lengths
from adiff_jax.data.order import RowOrder
from adiff_jax.data.pipeline import LoaderConfig, evaluation_batches, train_batches
from adiff_jax.data.schema import Arrays, Example, Truth
from adiff_jax.data.sources import Explanations, SynthPairs, open_source
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.tokenizers import Words, build_tokenizer
from adiff_jax.data.transforms import Encode, EncodeConfig
from tests.data.toy_source import RATE, ToySource

BUCKETS = (3, 5, 9)
BATCH = 4


def order_of(lengths: Sequence[int], batch: int = BATCH, seed: int = 0) -> BucketOrder:
    return BucketOrder(BUCKETS, np.array(lengths), batch, seed)


def epoch_of(order: BucketOrder, epoch: int) -> list[list[int]]:
    first = epoch * order.steps
    return [
        [order.row((first + step) * order.global_batch + i) for i in range(order.global_batch)]
        for step in range(order.steps)
    ]


LENGTHS = [2, 3, 1, 5, 9, 4, 3, 7, 5, 9, 8, 4, 2, 3, 6, 1, 3, 5, 2, 7, 9]  # 9 + 5 + 7 rows


@given(
    counts=st.tuples(*[st.integers(0, 3)] * 3).filter(any),
    left_over=st.tuples(*[st.integers(0, BATCH - 1)] * 3),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_an_epoch_has_every_whole_batch_of_a_bucket_and_no_row_twice(
    counts: tuple[int, ...], left_over: tuple[int, ...], seed: int, epoch: int
) -> None:
    sizes = [BATCH * n + (over if n else 0) for n, over in zip(counts, left_over, strict=True)]
    lengths = np.repeat(BUCKETS, sizes)
    order = order_of(np.random.default_rng(seed).permutation(lengths), seed=seed)
    batches = epoch_of(order, epoch)
    assert len(batches) == order.steps == sum(counts)
    read = [row for batch in batches for row in batch]
    assert len(set(read)) == len(read)
    found = Counter()
    for step, batch in enumerate(batches):
        (length,) = set(order.lengths[batch])
        found[length] += 1
        first = (epoch * order.steps + step) * BATCH
        assert {order.bucket(first + place) for place in range(BATCH)} == {length}
    assert [found[bucket] for bucket in BUCKETS] == list(counts)


def test_a_row_belongs_to_the_smallest_bucket_that_holds_it() -> None:
    order = order_of(LENGTHS)
    for position in range(order.steps * BATCH):
        length = LENGTHS[order.row(position)]
        assert order.bucket(position) == min(bucket for bucket in BUCKETS if bucket >= length)


def test_what_is_left_over_differs_from_epoch_to_epoch_and_every_row_is_read_in_time() -> None:
    order = order_of(LENGTHS)
    read = [{row for batch in epoch_of(order, epoch) for row in batch} for epoch in range(20)]
    assert all(len(rows) == 16 for rows in read)
    left = {frozenset(set(range(len(LENGTHS))) - rows) for rows in read}
    assert len(left) > 10
    assert set.union(*read) == set(range(len(LENGTHS)))


def test_buckets_come_in_an_order_of_their_own_every_epoch() -> None:
    order = order_of(LENGTHS * 4)
    turns = {
        tuple(order.bucket((epoch * order.steps + step) * BATCH) for step in range(order.steps))
        for epoch in range(6)
    }
    assert len(turns) == 6
    assert len({tuple(sorted(turn)) for turn in turns}) == 1
    other = order_of(LENGTHS * 4, seed=1)
    assert epoch_of(order, 0) != epoch_of(other, 0)


def test_the_order_never_changes_between_versions() -> None:
    """A resumed run relies on these numbers."""
    order = order_of(LENGTHS, seed=3)
    assert order.steps == 4
    assert epoch_of(order, 0) == FIRST
    assert epoch_of(order, 1) == SECOND
    assert [order.draw(k) for k in range(5)] == [RowOrder(21, seed=3).draw(k) for k in range(5)]


FIRST = [[12, 0, 18, 13], [4, 7, 10, 14], [6, 16, 15, 1], [3, 11, 17, 5]]
SECOND = [[18, 6, 0, 16], [8, 3, 17, 11], [9, 4, 7, 10], [13, 1, 12, 15]]


@pytest.mark.parametrize(
    ("lengths", "complaint"),
    [
        ([3, 3, 3, 3, 9, 9], "bucket 9 of data.encode.buckets holds 2 rows, fewer than the batch"),
        ([3, 5, 5, 5, 5], "bucket 3 of data.encode.buckets holds 1 rows"),
        ([3, 3, 3, 3, 10], "row 4 has a caption of up to 10 tokens, but the largest .* is 9"),
        ([], "holds no examples"),
    ],
)
def test_rows_that_would_never_be_read_are_an_error(lengths: list[int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        order_of(lengths)


@pytest.mark.parametrize("buckets", [(6, 5, 9), (5, 5, 9), (3, 5), (0, 9), (9, 12)])
def test_buckets_that_do_not_increase_to_max_tokens_are_refused(buckets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"buckets is .*increase and end with max_tokens, 9"):
        EncodeConfig(max_tokens=9, buckets=buckets)


# --- the loader -----------------------------------------------------------------------------------


class Sentences(ToySource):
    """Example i has two captions, the longer of LENGTHS[i % ...] tokens, its end included."""

    def __init__(self, size: int) -> None:
        super().__init__(size)

    def said(self, index: int) -> tuple[str, ...]:
        words = max(1, LENGTHS[index % len(LENGTHS)] - 1)
        return "one", " ".join(["one", "two", "three"][i % 3] for i in range(words))

    def __getitem__(self, index: int) -> Example:
        return replace(super().__getitem__(index), captions=self.said(index))

    def truth(self, index: int) -> Truth:
        return replace(super().truth(index), references=self.said(index))

    def texts(self) -> Iterator[str]:
        yield "one two three"


SOURCE = Sentences(63)
CONFIG = EncodeConfig(seconds=0.01, rate=RATE, max_tokens=9, buckets=BUCKETS)
ENCODE = Encode(CONFIG, build_tokenizer(Words(), SOURCE.texts()))
WORKERS = LoaderConfig(workers=2, threads=1, prefetch=1)


def ordered() -> BucketOrder:
    lengths = caption_lengths(SOURCE, CONFIG, ENCODE.tokenizer)
    return BucketOrder(BUCKETS, lengths, 8, seed=7)


def batches(start: int = 0, parts: int = 1, config: LoaderConfig | None = None) -> list[Arrays]:
    """The global batches of ten steps, joined from those of `parts` processes."""
    config = config or LoaderConfig()
    slices = [
        train_batches(SOURCE, ENCODE, ordered(), 8, start, part, parts, config, 10)
        for part in range(parts)
    ]
    return [
        {key: np.concatenate([part[key] for part in together]) for key in together[0]}
        for together in zip(*slices, strict=True)
    ]


def assert_equal(found: list[Arrays], expected: list[Arrays]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_lengths_are_those_of_the_longest_caption_with_its_end() -> None:
    lengths = caption_lengths(SOURCE, CONFIG, ENCODE.tokenizer)
    assert lengths.tolist() == [max(2, LENGTHS[i % len(LENGTHS)]) for i in range(63)]


def test_a_batch_is_cut_to_its_bucket_and_holds_whole_captions() -> None:
    order, seen = ordered(), set()
    for step, batch in enumerate(batches()):
        size = order.bucket(step * 8)
        seen.add(size)
        assert batch["tokens"].shape == batch["tokens_mask"].shape == (8, size)
        assert batch["example_id"].tolist() == [order.row(step * 8 + i) for i in range(8)]
        for mask, tokens in zip(batch["tokens_mask"], batch["tokens"], strict=True):
            assert tokens[mask][-1] == ENCODE.tokenizer.end_id
    assert seen == set(BUCKETS)


@pytest.mark.parametrize("parts", [2, 4])
def test_batches_are_the_same_on_any_number_of_processes(parts: int) -> None:
    assert_equal(batches(parts=parts), batches())


def test_batches_are_the_same_with_workers_and_threads() -> None:
    expected = batches()
    assert_equal(batches(config=WORKERS), expected)
    assert_equal(batches(config=LoaderConfig(threads=4, prefetch=4)), expected)


@pytest.mark.parametrize("start", [1, 6, 9])
def test_resuming_at_a_step_equals_skipping_to_it(start: int) -> None:
    assert_equal(batches(start), batches()[start:])


def test_without_buckets_nothing_changes() -> None:
    plain = Encode(replace(CONFIG, buckets=()), ENCODE.tokenizer)
    found = train_batches(SOURCE, ENCODE, RowOrder(63, 7), 8, steps=4)
    assert_equal(list(found), list(train_batches(SOURCE, plain, RowOrder(63, 7), 8, steps=4)))
    assert next(evaluation_batches(SOURCE, ENCODE, 8))["tokens"].shape == (8, 9)


def test_an_order_of_other_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="global_batch is 4, that of the order 8"):
        train_batches(SOURCE, ENCODE, ordered(), 4)


def test_an_order_goes_to_a_worker_as_it_is() -> None:
    order = ordered()
    copy = pickle.loads(pickle.dumps(order))
    positions = range(0, 400, 7)
    assert [copy.row(k) for k in positions] == [order.row(k) for k in positions]


# --- made explanations --------------------------------------------------------------------------


def test_explanations_that_are_made_fit_into_the_bucket_that_was_foretold() -> None:
    pairs = SynthPairs(
        Procedural(recordings_per_class=2), Recipe(duration=6.0), size=16, rate=8_000
    )
    source = open_source(Explanations(pairs, captioning=0.25))
    tokenizer = build_tokenizer(Words(), source.texts())
    config = EncodeConfig(seconds=6.0, rate=8_000, max_tokens=150, buckets=(40, 150))
    lengths = caption_lengths(source, config, tokenizer)
    order = BucketOrder(config.buckets, lengths, 4, seed=1)
    encode = Encode(config, tokenizer)
    tiers = {size: set() for size in config.buckets}
    for step, batch in enumerate(train_batches(source, encode, order, 4, steps=order.steps)):
        for index in batch["example_id"]:
            tiers[order.bucket(step * 4)].add(source.truth(int(index)).tier)
    assert tiers == {40: {0, 1, 2}, 150: {3}}


def test_lengths_are_asked_of_every_row_once_with_progress() -> None:
    asked: list[int] = []

    def progress(indices: Sequence[int]) -> Iterator[int]:
        for index in indices:
            asked.append(index)
            yield index

    caption_lengths(SOURCE, CONFIG, ENCODE.tokenizer, progress)
    assert asked == list(range(63))
