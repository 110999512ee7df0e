"""Pairs that hear the clips of other pairs: nothing of their own, everything of another's."""

import itertools
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adiff_jax.data.controls import BLOCK, PairConfig, Shuffled, ShuffledSource, apart
from adiff_jax.data.features import CachedPairs, CachedSource, write_features
from adiff_jax.data.schema import Example, Truth
from adiff_jax.data.sources import Explanations, NaturalPairs, SynthPairs, open_source
from adiff_jax.data.synth import made
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from tests.data.toy_source import ToySource

RATE = 8_000
RECIPE = Recipe(duration=1.0, event_seconds=(0.3, 0.6), balance=True)
PAIRS = SynthPairs(Procedural(recordings_per_class=4), RECIPE, size=40, rate=RATE)


class Heard(ToySource):
    """Toy pairs that are made of the recordings given; example i sounds of i."""

    def __init__(self, recordings: Sequence[tuple[str, ...]]) -> None:
        super().__init__(len(recordings))
        self.heard = recordings

    def truth(self, index: int) -> Truth:
        return replace(super().truth(index), recordings=self.heard[index])


def partners(source: ShuffledSource) -> list[int]:
    return [source.heard_by(index) for index in range(len(source))]


# --- who hears whom ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, BLOCK - 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK, 5 * BLOCK + 7])
def test_every_pair_is_heard_once_and_never_by_itself(size: int) -> None:
    heard = partners(ShuffledSource(ToySource(size), 0))
    assert sorted(heard) == list(range(size))
    assert all(one != other for one, other in enumerate(heard))


def test_no_pair_hears_a_recording_of_its_own_where_that_can_be_had() -> None:
    source = open_source(Explanations(PAIRS, tiers=(1,), captioning=0.3))
    heard = partners(ShuffledSource(source, 0))
    made_of = [{*source.truth(index).recordings} for index in range(len(source))]
    by_chance = np.mean([bool(one & other) for one, other in itertools.combinations(made_of, 2)])
    assert by_chance > 0.1
    assert not any(made_of[one] & made_of[other] for one, other in enumerate(heard))


def test_the_matching_is_as_large_as_it_can_be() -> None:
    """Of six that share "a" three can be given one of the three others; the rest cannot."""
    sets = [frozenset("a")] * 6 + [frozenset("b"), frozenset("c"), frozenset()]
    found = apart(sets)
    assert sorted(found) == list(range(9))
    assert all(one != other for one, other in enumerate(found))
    assert sum(bool(sets[one] & sets[other]) for one, other in enumerate(found)) == 3


def test_a_pair_gives_up_what_another_cannot_do_without() -> None:
    """0 comes first and is given 1, which is all that 2 can be given."""
    assert apart([frozenset(text) for text in ("p", "q", "pr", "qr")]) == [3, 2, 1, 0]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_where_all_share_a_recording_nobody_hears_itself_even_so(count: int) -> None:
    found = apart([frozenset("a")] * count)
    assert sorted(found) == list(range(count))
    assert all(one != other for one, other in enumerate(found))


def test_the_seed_decides_and_nothing_else() -> None:
    source = Heard([(str(index % 7),) for index in range(150)])
    first = partners(ShuffledSource(source, 0))
    assert partners(ShuffledSource(source, 1)) != first
    backwards = ShuffledSource(source, 0)
    assert [backwards.heard_by(index) for index in range(149, -1, -1)][::-1] == first
    assert partners(pickle.loads(pickle.dumps(backwards))) == first


def test_one_pair_alone_has_no_other_to_hear() -> None:
    with pytest.raises(ValueError, match=r"Shuffled\.pairs holds 1 example"):
        ShuffledSource(ToySource(1), 0)


def test_there_is_no_row_beyond_the_last() -> None:
    for index in (-1, 3):
        with pytest.raises(IndexError):
            ShuffledSource(ToySource(3), 0).heard_by(index)


# --- what stays and what does not -------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        replace(PAIRS, size=6),
        NaturalPairs(PAIRS.recordings, size=6, rate=RATE),
        Explanations(replace(PAIRS, size=3), tiers=(1, 2), captioning=0.25),
    ],
    ids=lambda config: type(config).__name__,
)
def test_texts_stay_and_clips_are_anothers(config: PairConfig) -> None:
    plain = open_source(config)
    source = ShuffledSource(plain, 0)
    assert len(source) == len(plain) and list(source.texts()) == list(plain.texts())
    for index in range(len(source)):
        example, truth = source[index], plain.truth(index)
        own, other = plain[index], plain[source.heard_by(index)]
        assert source.truth(index) == truth
        assert example.captions == truth.references
        for name in ("id", "edits", "recordings", "prompt", "tier", "heard", "backgrounds"):
            assert getattr(example, name) == getattr(truth, name), name
        assert example.clips == other.clips and example.scene == other.scene
        for heard, wave, silent in zip(example.waves, other.waves, own.waves, strict=True):
            np.testing.assert_array_equal(heard, wave)
            assert not np.array_equal(heard, silent)


def test_cached_features_are_anothers_too(tmp_path: Path) -> None:
    plain = open_source(replace(PAIRS, size=5))
    rows = np.arange(5)
    arrays = {"valid": rows < 5, "example_id": rows, "scene_id": rows}
    frames = np.broadcast_to(rows[:, None, None, None], (5, 2, 1, 3)).astype(np.float32)
    write_features(str(tmp_path / "c"), plain, [(arrays, frames, np.ones((5, 2)))], {})
    cached = CachedSource(CachedPairs(str(tmp_path / "c")))
    source = ShuffledSource(cached, 0)
    for index in range(5):
        example = source[index]
        assert example.id == plain.truth(index).id
        assert {int(clip[0, 0]) for clip in example.features} == {source.heard_by(index)}


def test_no_audio_is_made_to_see_what_a_pair_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "render_pair", None)
    source = ShuffledSource(open_source(Explanations(PAIRS, tiers=(2, 3))), 0)
    assert sorted(partners(source)) == list(range(80))
    assert source.longest_texts(7)


def test_an_example_reads_the_clips_it_hears_and_not_its_own() -> None:
    read: list[int] = []

    class Counting(ToySource):
        def __getitem__(self, index: int) -> Example:
            read.append(index)
            return super().__getitem__(index)

    source = ShuffledSource(Counting(9), 0)
    source[4]
    assert read == [source.heard_by(4)]


def test_a_shuffle_of_nothing_in_particular_is_of_the_default_pairs() -> None:
    assert Shuffled().pairs == SynthPairs()
