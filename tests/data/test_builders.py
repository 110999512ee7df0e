"""The two tables, written and read, and the AudioDiffCaps reader."""

import csv
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adiff_jax.audio.io import AudioError, write_audio
from adiff_jax.data.builders.audiodiffcaps import (
    AudioDiffCaps,
    AudioDiffCapsSource,
    build_audiodiffcaps,
)
from adiff_jax.data.builders.table_source import Table, TableSource
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.order import RowOrder
from adiff_jax.data.pipeline import LoaderConfig, train_batches
from adiff_jax.data.schema import Clip, Described, Edit, Example, Source, Truth
from adiff_jax.data.tokenizers import Words, build_tokenizer
from adiff_jax.data.transforms import Encode, EncodeConfig

RATE = 8_000
HALF_BIT = 0.5 / 2**15


def noise(seed: int, samples: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, samples).astype(np.float32)


class ListSource:
    """A source of given examples."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    def truth(self, index: int) -> Truth:
        example = self.examples[index]
        return Truth(
            example.id,
            example.captions,
            example.edits,
            example.recordings,
            example.prompt,
            example.tier,
        )

    def texts(self) -> Iterator[str]:
        for example in self.examples:
            yield from example.captions


FULL = Example(
    id="full",
    waves=(noise(0), noise(1, 300)),
    rate=RATE,
    captions=("replace the dog by a cat", "狗 becomes 🐈"),
    edits=(Edit("replace", "dog", "cat"), Edit("louder", "rain")),
    labels=("dog", "cat"),
    scene="rain+dog",
    recordings=("1-100", "1-200"),
    prompt="What changed?",
    tier=3,
    clips=(
        Clip("a.wav", ("a dog in the rain",), ("1-100",)),
        Clip("b.wav", ("a cat",), ("1-200",)),
    ),
)
PAIRS = [FULL] + [
    Example(
        id=f"pair-{index}",
        waves=(noise(index % 4), noise((index + 1) % 4)),
        rate=RATE,
        captions=(f"caption {index}",),
        edits=(Edit("none"),) if index % 2 else None,
    )
    for index in range(20)
]
SINGLE = Example(id="one", waves=(noise(9),), rate=16_000, labels=("dog",))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables")
    build_tables({"train": ListSource(PAIRS), "test": ListSource([SINGLE])}, path, progress=False)
    return path


def assert_same(found: Example, stored: Example) -> None:
    """Equal but for 16-bit rounding, and for the names that clips without one were given."""
    assert len(found.waves) == len(stored.waves)
    for wave, original in zip(found.waves, stored.waves, strict=True):
        assert wave.dtype == np.float32
        np.testing.assert_allclose(wave, original, rtol=0, atol=1.01 * HALF_BIT)
    blank = {"waves": (), "clips": ()}
    assert replace(found, **blank) == replace(stored, **blank)
    assert not stored.clips or found.clips == stored.clips


def test_tables_give_back_every_example_in_order(tables: Path) -> None:
    source = TableSource(Table(str(tables), "train"))
    assert len(source) == len(PAIRS)
    for index, stored in enumerate(PAIRS):
        assert_same(source[index], stored)
        assert source.truth(index) == ListSource(PAIRS).truth(index)
    assert list(source.texts()) == list(ListSource(PAIRS).texts())


def test_examples_are_described_without_decoding(
    tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TableSource(Table(str(tables), "train"))
    expected = [replace(read[index], waves=(), rate=0) for index in range(len(PAIRS))]
    monkeypatch.setattr("adiff_jax.data.builders.table_source.decode_audio", None)
    source = TableSource(Table(str(tables), "train"))
    assert isinstance(source, Described)
    assert [source.described(index) for index in range(len(PAIRS))] == expected


def test_two_clips_of_one_name_cannot_be_described(tmp_path: Path) -> None:
    other = replace(FULL, id="other", waves=(noise(5), noise(1, 300)))
    build_tables({"train": ListSource([FULL, other])}, tmp_path / "t", progress=False)
    source = TableSource(Table(str(tmp_path / "t"), "train"))
    source.described(0)
    with pytest.raises(ValueError, match=r"two clips are called a\.wav"):
        source.described(1)


def test_tables_hold_single_clips(tables: Path) -> None:
    source = TableSource(Table(str(tables), "test"))
    assert_same(source[0], SINGLE)
    assert [clip.name for clip in source[0].clips] == ["one-1"]


def test_a_clip_is_stored_once_however_many_pairs_use_it(tmp_path: Path) -> None:
    pairs = ListSource(PAIRS[1:])
    report = build_tables({"train": pairs}, tmp_path / "t", progress=False)
    assert (report.pairs, report.clips, report.shared) == ({"train": 20}, {"train": 4}, [])


def test_the_same_samples_under_two_descriptions_keep_both(tmp_path: Path) -> None:
    other = replace(FULL, id="other", clips=(FULL.clips[0], Clip("copy of b.wav")))
    report = build_tables({"train": ListSource([FULL, other])}, tmp_path, progress=False)
    assert report.clips == {"train": 3}
    assert TableSource(Table(str(tmp_path)))[1].clips == other.clips


def test_clips_in_two_splits_are_reported(tmp_path: Path) -> None:
    sources: dict[str, Source] = {
        "train": ListSource([FULL]),
        "test": ListSource([replace(SINGLE, waves=(FULL.waves[1],), rate=RATE)]),
    }
    report = build_tables(sources, tmp_path, progress=False)
    assert len(report.shared) == 1
    assert report.shared[0].startswith("train b.wav = test one-1 (SHA-256 ")
    assert "1 clips are in more than one split" in str(report)


def test_tables_need_no_tensorflow(tmp_path: Path) -> None:
    code = """
import sys
from tests.data.test_builders import FULL, ListSource
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.builders.table_source import Table, TableSource
build_tables({"train": ListSource([FULL])}, sys.argv[1], progress=False)
source = TableSource(Table(sys.argv[1]))
assert source[0].id == "full" and not source.dangling()
loaded = [name for name in ("tensorflow", "apache_beam") if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_a_table_source_is_pickled_as_its_path_and_opened_when_read(tables: Path) -> None:
    source = TableSource(Table(str(tables)))
    assert_same(source[0], FULL)
    assert len(pickle.dumps(source)) < 500
    assert_same(pickle.loads(pickle.dumps(source))[0], FULL)
    TableSource(Table("nowhere"))  # nothing is read yet


def test_workers_load_from_tables_what_threads_load(tables: Path) -> None:
    source = TableSource(Table(str(tables)))
    encode = Encode(EncodeConfig(0.05, RATE, 8), build_tokenizer(Words(), source.texts()))
    order = RowOrder(len(source), seed=1)
    by_threads, by_workers = (
        list(train_batches(source, encode, order, 8, config=LoaderConfig(workers), steps=4))
        for workers in (0, 2)
    )
    assert len(by_threads) == 4
    for batch, other in zip(by_threads, by_workers, strict=True):
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def test_an_existing_table_is_not_overwritten(tables: Path) -> None:
    with pytest.raises(FileExistsError, match=f"{tables}/clips exists"):
        build_tables({"train": ListSource(PAIRS)}, tables, progress=False)


def test_an_empty_split_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    sources: dict[str, Source] = {"train": ListSource(PAIRS), "test": ListSource([])}
    with pytest.raises(ValueError, match="split 'test' holds no examples"):
        build_tables(sources, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_silent_clip_is_named_and_leaves_no_table(tmp_path: Path) -> None:
    silent = replace(FULL, waves=(FULL.waves[0], np.zeros(400, np.float32)))
    with pytest.raises(AudioError, match="clip b.wav of full: .*silent"):
        build_tables({"train": ListSource([silent])}, tmp_path, progress=False)
    with pytest.raises(FileNotFoundError):
        len(TableSource(Table(str(tmp_path))))
    build_tables({"train": ListSource([FULL])}, tmp_path / "again", progress=False)


def test_a_missing_table_or_split_is_named(tables: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no table at {tmp_path}/clips.*adiff data build"):
        len(TableSource(Table(str(tmp_path))))
    with pytest.raises(ValueError, match=r"no split 'dev'; it has \['test', 'train'\]"):
        len(TableSource(Table(str(tables), "dev")))


def test_a_clip_whose_bytes_changed_is_found(tables: Path) -> None:
    source = TableSource(Table(str(tables)))
    assert source.clip_names()[:2] == ["a.wav", "b.wav"]
    np.testing.assert_array_equal(source.clip(1, RATE), source[0].waves[1])
    assert source.dangling() == []
    rows = list(source._rows.clips)
    broken = [{**rows[0], "flac": rows[1]["flac"]}, *rows[1:]]
    source._opened = replace(source._rows, clips=broken)
    with pytest.raises(AudioError, match="a.wav: its bytes do not match their SHA-256; build"):
        source.clip(0, RATE)
    source._opened = replace(source._rows, clips=rows[:-1])
    assert "pair pair-2 names a clip beyond the 5 stored" in source.dangling()


COLUMNS = ("key", "s1_fn", "s2_fn", *(f"caption_{number}" for number in range(1, 6)))


@pytest.fixture
def copy(tmp_path: Path) -> AudioDiffCaps:
    """An imitation of a user's copy: three clips of 44.1 kHz and two pairs of them."""
    audio = tmp_path / "audio"
    (audio / "rain").mkdir(parents=True)
    for number in range(3):
        write_audio(audio / f"rain/{number}.wav", noise(number, 4_410), 44_100)
    rows = [
        ("p0", "rain/0.wav", "rain/1.wav", "add a dog, please", "make it louder", "", "", ""),
        ("p1", "rain/1.wav", "rain/2.wav", "a", "b", "c", "d", "é, 狗"),
    ]
    return AudioDiffCaps(str(audio), train=str(write_csv(tmp_path / "train.csv", rows)))


def write_csv(path: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_audiodiffcaps_is_read_with_its_captions_and_native_rate(copy: AudioDiffCaps) -> None:
    source = AudioDiffCapsSource(copy.train, copy.audio)
    assert [source[index].id for index in range(len(source))] == ["p0", "p1"]
    example = source[0]
    assert example.captions == ("add a dog, please", "make it louder")
    assert source.truth(1) == Truth(
        "p1", ("a", "b", "c", "d", "é, 狗"), None, ("rain/1.wav", "rain/2.wav")
    )
    assert len(list(source.texts())) == 7
    assert example.rate == 44_100 and example.edits is None
    for wave, seed in zip(example.waves, (0, 1), strict=True):
        np.testing.assert_allclose(wave, noise(seed, 4_410), rtol=0, atol=2 * HALF_BIT)


def test_audiodiffcaps_becomes_tables_with_each_file_once(
    copy: AudioDiffCaps, tmp_path: Path
) -> None:
    report = build_audiodiffcaps(copy, tmp_path / "tables", progress=False)
    assert (report.pairs, report.clips) == ({"train": 2}, {"train": 3})
    source = TableSource(Table(str(tmp_path / "tables")))
    assert [clip.name for clip in source[1].clips] == ["rain/1.wav", "rain/2.wav"]
    assert source[1].captions == ("a", "b", "c", "d", "é, 狗")
    assert source[0].recordings == source.truth(0).recordings == ("rain/0.wav", "rain/1.wav")
    assert source[0].clips[0].recordings == ("rain/0.wav",)
    with pytest.raises(ValueError, match="names no CSV file"):
        build_audiodiffcaps(replace(copy, train=""), tmp_path / "other")


def test_rows_whose_files_are_missing_are_all_listed(copy: AudioDiffCaps, tmp_path: Path) -> None:
    rows = [
        ("p0", "rain/0.wav", "rain/9.wav", "a", "", "", "", ""),
        ("p1", "snow/1.wav", "", "a", "", "", "", ""),
    ]
    with pytest.raises(FileNotFoundError) as caught:
        AudioDiffCapsSource(write_csv(tmp_path / "x.csv", rows), copy.audio)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/x.csv names 3 files that are not in {copy.audio}")
    assert "line 2 (p0): rain/9.wav" in message
    assert "line 3 (p1): snow/1.wav" in message
    assert "line 3 (p1): empty cell" in message


def test_long_lists_of_missing_files_are_cut(copy: AudioDiffCaps, tmp_path: Path) -> None:
    rows = [(f"p{n}", "no.wav", "rain/0.wav", "a", "", "", "", "") for n in range(15)]
    with pytest.raises(FileNotFoundError, match="names 15 files(.|\n)*and 5 more"):
        AudioDiffCapsSource(write_csv(tmp_path / "x.csv", rows), copy.audio)


GOOD = ("p0", "rain/0.wav", "rain/1.wav", "a", "", "", "", "")


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([GOOD[:3]], COLUMNS[:3], "lacks the columns caption_1, caption_2"),
        ([GOOD[:3] + ("", " ", "", "", "")], COLUMNS, r"line 2 \(p0\) has no caption"),
        ([GOOD, GOOD], COLUMNS, "line 3 repeats the key p0 of line 2"),
        ([("", *GOOD[1:])], COLUMNS, "line 2 has no key"),
        ([], COLUMNS, "holds no rows"),
    ],
)
def test_a_malformed_csv_is_refused_with_its_line(
    copy: AudioDiffCaps,
    tmp_path: Path,
    rows: list[tuple[str, ...]],
    columns: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}/x.csv.*{message}"):
        AudioDiffCapsSource(write_csv(tmp_path / "x.csv", rows, columns), copy.audio)


def test_a_csv_saved_by_a_spreadsheet_reads_the_same(copy: AudioDiffCaps) -> None:
    plain = list(AudioDiffCapsSource(copy.train, copy.audio).texts())
    text = Path(copy.train).read_text(encoding="utf-8")
    Path(copy.train).write_text(text, encoding="utf-8-sig")
    assert list(AudioDiffCapsSource(copy.train, copy.audio).texts()) == plain
    Path(copy.train).write_text(text.replace("狗", "dog"), encoding="latin-1")
    with pytest.raises(ValueError, match="train.csv, line 3: .* save the file as UTF-8"):
        AudioDiffCapsSource(copy.train, copy.audio)


def test_a_missing_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="x.csv: no such CSV file"):
        AudioDiffCapsSource(tmp_path / "x.csv", tmp_path)


def test_a_broken_file_is_named_when_it_is_read(copy: AudioDiffCaps) -> None:
    (Path(copy.audio) / "rain/1.wav").write_text("not audio")
    source = AudioDiffCapsSource(copy.train, copy.audio)
    with pytest.raises(AudioError, match="rain/1.wav"):
        source[0]
