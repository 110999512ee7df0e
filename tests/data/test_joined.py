"""Several tables as one source."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adiff_jax.data.builders.table_source import Table, TableSource
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.controls import Shuffled
from adiff_jax.data.joined import Joined, JoinedSource
from adiff_jax.data.schema import Captioned, Clip, Coverage, Described, Example, Source
from adiff_jax.data.sources import Explanations, open_source
from tests.data.test_builders import ListSource, noise

SIZES = {"acd": 4, "cld": 3}


def rows(name: str, size: int) -> list[Example]:
    """Pairs of the same clip names and ids in either table, with other samples and texts."""
    first = list(SIZES).index(name) * 100
    return [
        Example(
            id=f"pair-{index // 2}/tier-{index % 2 + 1}",
            waves=(noise(first + index), noise(first + index + 1)),
            rate=8_000,
            captions=(f"{name} {index}",),
            prompt="What differs?",
            tier=index % 2 + 1,
            clips=tuple(Clip(f"{n}.wav", (f"{name} clip {n}",)) for n in (index, index + 1)),
        )
        for index in range(size)
    ]


class Counted(ListSource):
    """A source that lacks some of what was listed."""

    @property
    def coverage(self) -> Coverage:
        return Coverage(len(self.examples), len(self.examples) + 1, 5, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("joined")
    for name, size in SIZES.items():
        build_tables({"train": Counted(rows(name, size))}, path / name, progress=False)
    return path


@pytest.fixture
def joined(folder: Path) -> Joined:
    return Joined(tuple(Table(str(folder / name)) for name in SIZES))


def test_every_example_of_every_table_is_there_under_its_own_name(
    joined: Joined, folder: Path
) -> None:
    source = open_source(joined)
    assert isinstance(source, Source) and isinstance(source, Captioned)
    assert isinstance(source, Described)
    assert len(source) == sum(SIZES.values())
    index = 0
    for name, size in SIZES.items():
        table = TableSource(Table(str(folder / name)))
        for place in range(size):
            found, stored = source[index], table[place]
            assert found.id == f"{name}/{stored.id}" == source.truth(index).id
            assert [clip.name for clip in found.clips] == [f"{name}/{c.name}" for c in stored.clips]
            assert found.clips == source.described(index).clips
            for ours, theirs in zip(found.waves, stored.waves, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            blank = {"id": "", "waves": (), "clips": ()}
            assert replace(found, **blank) == replace(stored, **blank)
            assert source.truth(index).references == table.truth(place).references
            assert source.clip_captions(index) == table.clip_captions(place)
            index += 1
    assert len({source.truth(i).id for i in range(len(source))}) == len(source)
    assert list(source.texts()) == [
        f"{name} {i}" for name, size in SIZES.items() for i in range(size)
    ]


def test_an_index_outside_is_refused(joined: Joined) -> None:
    source = JoinedSource(joined)
    for index in (-1, len(source)):
        with pytest.raises(IndexError, match=f"example {index} of a source of 7"):
            source[index]


def test_the_coverage_is_that_of_all_tables(joined: Joined, folder: Path, tmp_path: Path) -> None:
    assert JoinedSource(joined).coverage == Coverage(7, 9, 10, 14)
    build_tables({"train": ListSource(rows("acd", 2))}, tmp_path / "mine", progress=False)
    mixed = Joined((Table(str(folder / "acd")), Table(str(tmp_path / "mine"))))
    assert JoinedSource(mixed).coverage is None


def test_it_is_pickled_unopened_and_reads_the_same(joined: Joined) -> None:
    source = JoinedSource(joined)
    assert len(source) == 7
    again = pickle.loads(pickle.dumps(source))
    assert [again.truth(i) for i in range(7)] == [source.truth(i) for i in range(7)]


def test_tiers_and_controls_take_joined_tables(joined: Joined) -> None:
    second = open_source(Explanations(joined, tiers=(2,)))
    assert [second.truth(i).id for i in range(len(second))] == [
        "acd/pair-0/tier-2",
        "acd/pair-1/tier-2",
        "cld/pair-0/tier-2",
    ]
    assert Shuffled(joined).pairs == joined


def test_folders_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than one folder called 'acd'"):
        Joined((Table(str(tmp_path / "acd")), Table(str(tmp_path / "more" / "acd"))))
    with pytest.raises(ValueError, match="names 'acd' twice: splits of one table"):
        Joined((Table("acd"), Table("acd", "test")))
    with pytest.raises(ValueError, match="Joined.tables is empty"):
        Joined(())
