"""Cached embeddings: what is kept of an example, which crop is heard, the files of a cache."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adiff_jax.data import records
from adiff_jax.data.embedding_files import (
    FORM,
    ClipPlace,
    EmbeddingFiles,
    KeptSource,
    StoredClip,
)
from adiff_jax.data.embeddings import (
    CachedEmbeddings,
    EmbeddedSource,
    example_line,
)
from adiff_jax.data.order import shard_range, share_of
from adiff_jax.data.pipeline import LoaderConfig, read_ahead
from adiff_jax.data.read_clips import ReadClips, crop_start, groups, wave_digest
from adiff_jax.data.records import from_row, to_row
from adiff_jax.data.schema import Clip, Coverage, Edit, Example, Truth, coverage_of
from tests.data.toy_source import ToySource, toy_encode

FULL = Example(
    id="a",
    waves=(np.ones(3, np.float32),),
    rate=8000,
    captions=("one", "two"),
    edits=(Edit("replace", "dog", "cat"),),
    labels=("dog",),
    scene="s",
    recordings=("r",),
    prompt="explain",
    tier=2,
    clips=(Clip("x", ("a dog",), ("r",)), Clip("y")),
    heard=(("dog",), ()),
    backgrounds=("rain", "rain"),
)
TRUTH = Truth("a", ("one", "two"), None, ("r",), "explain", 2, (("dog",), ()), ("rain", "sea"))


# --- records ----------------------------------------------------------------------------------


def test_every_field_without_sound_comes_back():
    found = from_row(Example, json.loads(json.dumps(to_row(FULL))))
    assert found == replace(FULL, waves=(), rate=0)
    assert from_row(Truth, to_row(TRUTH)) == TRUTH


def with_field(monkeypatch: pytest.MonkeyPatch, value: Any, kind: Any) -> Truth:
    """A truth with one field more, known to the records."""

    @dataclass(frozen=True)
    class Later(Truth):
        later: Any = None

    names = records._KEPT[Truth] | {"later": kind}
    monkeypatch.setattr(records, "_KEPT", {**records._KEPT, Later: names})
    return Later("a", (), None, (), later=value)


def test_a_field_that_is_added_is_carried(monkeypatch: pytest.MonkeyPatch):
    truth = with_field(monkeypatch, (("dog",), ()), tuple[tuple[str, ...], ...])
    assert from_row(type(truth), to_row(truth)) == truth


@pytest.mark.parametrize("value", [np.ones(2), {1, 2}, {1: "x"}, (1,)])
def test_a_field_that_json_does_not_give_back_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: Any
):
    truth = with_field(monkeypatch, value, Any)
    with pytest.raises(ValueError, match=r"a: Later\.later cannot be kept as JSON"):
        to_row(truth)


@pytest.mark.parametrize("change", [lambda row: row | {"new": 1}, lambda row: {"id": row["id"]}])
def test_a_row_of_another_version_is_refused(change: Any):
    with pytest.raises(ValueError, match="another version .* differs in .*: remove the cache"):
        from_row(Truth, change(to_row(TRUTH)))


# --- crops ------------------------------------------------------------------------------------


def embedded(crops: int) -> Example:
    rows = np.arange(crops * 2, dtype=np.float32).reshape(crops, 2)
    return Example("a", (), 0, ("add a dog", "put a dog in"), embeddings=(rows, rows + 100))


def test_evaluation_hears_the_centre_and_training_every_crop_alike():
    encode = toy_encode()
    row = encode(embedded(4), 0)
    np.testing.assert_array_equal(row["features_1"], [[0, 1]])
    np.testing.assert_array_equal(row["features_2"], [[100, 101]])
    assert row["features_1"].dtype == np.float32 and row["length_1"] == row["length_2"] == 1
    rng = np.random.default_rng(1)
    drawn = [encode(embedded(4), 0, int(d)) for d in rng.integers(2**63, size=800)]
    first = np.array([int(r["features_1"][0, 0]) // 2 for r in drawn])
    second = np.array([int(r["features_2"][0, 0] - 100) // 2 for r in drawn])
    caption = np.array([r["tokens"].sum() for r in drawn])
    for chosen in (first, second):
        assert (np.bincount(chosen) > 150).all() and len(np.bincount(chosen)) == 4
    for one, other in ((first, second), (first, caption), (second, caption)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.1  # three standard deviations


def test_the_same_draw_gives_the_same_crop():
    rows = [toy_encode()(embedded(5), 0, 12345) for _ in range(2)]
    np.testing.assert_array_equal(rows[0]["features_1"], rows[1]["features_1"])


def test_a_crop_starts_where_seed_name_and_number_say():
    starts = {crop_start(*of, 999) for of in ((0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2))}
    assert len(starts) == 4
    assert crop_start(0, "a", 1, 999) == crop_start(0, "a", 1, 999)
    found = [crop_start(3, f"clip {i}", 1, 4) for i in range(300)]
    assert set(found) == {0, 1, 2, 3, 4}


class Ramps(ToySource):
    """Pairs of a long and a short ramp."""

    def __getitem__(self, index: int) -> Example:
        waves = (np.arange(400, dtype=np.float32) / 400, np.arange(100, dtype=np.float32) / 100)
        return Example(f"toy-{index}", waves, 16_000)


def test_windows_are_the_centre_and_others_and_of_a_short_clip_there_is_one():
    places = (ClipPlace("long", 0, 0), ClipPlace("short", 0, 1))
    encode, source = toy_encode(), Ramps(1)
    size = encode.config.samples
    assert 100 < size < 400
    read = ReadClips(source, encode, groups(places), 4, 0)
    long, short = read(0)
    row = encode(source[0], 0)
    np.testing.assert_array_equal(long["windows"][0], row["audio_1"])
    assert long["windows"].shape == (4, size) and long["length"] == size
    starts = np.round(long["windows"][1:, 0] * 400).astype(int).tolist()
    assert starts == [crop_start(0, "long", crop, 400 - size) for crop in (1, 2, 3)]
    assert short["windows"].shape == (1, size) and short["length"] == 100
    np.testing.assert_array_equal(short["windows"][0], row["audio_2"])


def test_a_short_clip_is_tiled_where_the_experiment_tiles():
    encode, source = toy_encode(short="tile"), Ramps(1)
    (read,) = ReadClips(source, encode, groups([ClipPlace("short", 0, 1)]), 4, 0)(0)
    row = encode(source[0], 0)
    np.testing.assert_array_equal(read["windows"], row["audio_2"][None])
    assert read["length"] == row["length_2"] == encode.config.samples


def test_a_digest_is_of_samples_and_rate():
    wave = np.ones(3, np.float32)
    found = {wave_digest(wave, 8000), wave_digest(wave, 16_000), wave_digest(2 * wave, 8000)}
    assert len(found) == 3


# --- files ------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> EmbeddingFiles:
    """Two pairs of three clips in two shards, the first clip alone, the second with one crop."""
    files = EmbeddingFiles.at(tmp_path / "cache")
    files.claim({"shards": 2})
    numbers: dict[str, int] = {}
    pairs = [replace(FULL, id="p"), replace(FULL, id="q", clips=(Clip("y"), Clip("z")))]
    lines = [example_line(pair, replace(TRUTH, id=pair.id), numbers) for pair in pairs]
    files.write_examples(KeptSource(lines, ["one"], Coverage(2, 3, 3, 4)))
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    files.write_shard(0, 2, [StoredClip("x", "h", 3)], rows[:3])
    last = np.concatenate([rows[:1] + 50, rows[3:]])
    files.write_shard(1, 2, [StoredClip("y", "h", 1), StoredClip("z", "h", 3)], last)
    return files


def test_each_pair_finds_its_clips_and_every_clip_is_there_once(files: EmbeddingFiles):
    source = EmbeddedSource(CachedEmbeddings(str(files.path)))
    assert len(source) == 2
    first, second = source[0].embeddings, source[1].embeddings
    np.testing.assert_array_equal(first[0], [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(first[1], [[50, 51]])
    np.testing.assert_array_equal(second[0], [[50, 51]])
    np.testing.assert_array_equal(second[1], [[6, 7], [8, 9], [10, 11]])
    assert source[1].waves == () and source[1].captions == FULL.captions
    assert source.truth(1) == replace(TRUTH, id="q")
    assert list(source.texts()) == ["one"] and coverage_of(source) == Coverage(2, 3, 3, 4)
    assert files.clip_places() == [
        ClipPlace("x", 0, 0),
        ClipPlace("y", 0, 1),
        ClipPlace("z", 1, 1),
    ]


def test_a_source_with_a_missing_shard_is_refused(files: EmbeddingFiles, tmp_path: Path):
    files.drop_shard(1, 2)
    with pytest.raises(ValueError, match="1 of 2 shards are missing, the first is 1; `adiff data"):
        EmbeddedSource(CachedEmbeddings(str(files.path)))
    with pytest.raises(ValueError, match="holds no embeddings; write them with"):
        EmbeddedSource(CachedEmbeddings(str(tmp_path / "nothing")))


def test_the_first_claim_stays_and_a_directory_of_something_else_is_refused(
    files: EmbeddingFiles, tmp_path: Path
):
    files.claim({"shards": 7})
    assert files.about() == {"form": FORM, "shards": 2}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="other holds something else"):
        EmbeddingFiles.at(tmp_path / "other").claim({})


def test_a_cache_of_another_version_is_refused(files: EmbeddingFiles):
    (files.path / "about.json").write_text('{"shards": 2}')  # its clips lay in turn
    with pytest.raises(ValueError, match="is of another version of this package: remove"):
        EmbeddedSource(CachedEmbeddings(str(files.path)))


def test_every_clip_is_in_one_shard_and_clips_of_an_example_are_read_once():
    for clips, shards in ((7, 3), (24, 5), (3, 3)):
        ranges = [shard_range(shard, shards, clips) for shard in range(shards)]
        assert [number for some in ranges for number in some] == list(range(clips))
        assert max(map(len, ranges)) - min(map(len, ranges)) <= 1
    places = [ClipPlace(str(n), n // 2, n % 2) for n in range(5)]
    assert [len(group) for group in groups(places)] == [2, 2, 1]
    assert [len(group) for group in groups(places[1:])] == [1, 2, 1]


def test_a_file_that_breaks_off_is_not_there(
    files: EmbeddingFiles, monkeypatch: pytest.MonkeyPatch
):
    before = {file.name: file.read_bytes() for file in files.path.iterdir()}

    def broken(file: Any, embeddings: np.ndarray) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", broken)
    with pytest.raises(KeyboardInterrupt):
        files.write_shard(0, 2, [], np.zeros((1, 2), np.float32))
    assert {file.name: file.read_bytes() for file in files.path.iterdir()} == before


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_read_ahead_comes_in_order(workers: int):
    found = list(read_ahead(abs, 20, LoaderConfig(workers, threads=2, prefetch=4)))
    assert found == list(range(20))
    assert list(read_ahead(abs, 0, LoaderConfig())) == []


def test_a_share_is_one_of_several():
    assert share_of("3/20") == (3, 20)
    with pytest.raises(ValueError, match="'4/4' must be i/N"):
        share_of("4/4")
