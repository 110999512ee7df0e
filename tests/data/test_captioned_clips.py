"""Clotho and AudioCaps: the published tables are read, the user's audio is found, clips become
tables with their captions."""

import csv
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from adiff_jax import cli
from adiff_jax.audio.io import AudioError
from adiff_jax.data.builders.captioned_clips import build_captioned, captioned_sources
from adiff_jax.data.builders.captioned_files import (
    AudioCaps,
    Clotho,
    find_listed,
    read_listed,
)
from adiff_jax.data.builders.table_source import Table, TableSource
from adiff_jax.data.schema import Clip, Coverage, Recurring, Truth, coverage_of

RATE = 8_000
CLOTHO = ("file_name", "caption_1", "caption_2", "caption_3", "caption_4", "caption_5")
AUDIOCAPS = ("audiocap_id", "youtube_id", "start_time", "caption")

Cells = tuple[str, ...]


def write_csv(path: Path, columns: Cells, *rows: Cells) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(path)


def five(name: str) -> Cells:
    return (name, *(f"{name}, heard {number} times" for number in range(1, 6)))


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, 800).astype(np.float32)


def write_clip(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, noise(seed), RATE)
    return path


@pytest.fixture
def clotho(tmp_path: Path) -> Clotho:
    """Three clips in the folder of the training split, one in that of the test split."""
    names = ("Ship's engine (1).wav", "rain.wav", "03 - dog, barking.wav")
    for seed, name in enumerate(names):
        write_clip(tmp_path / "audio" / "development" / name, seed)
    write_clip(tmp_path / "audio" / "evaluation" / "rain.wav", 9)
    return Clotho(
        str(tmp_path / "audio"),
        train=write_csv(tmp_path / "development.csv", CLOTHO, *map(five, names)),
        test=write_csv(tmp_path / "evaluation.csv", CLOTHO, five("rain.wav")),
        rate=RATE,
    )


@pytest.fixture
def audiocaps(tmp_path: Path) -> AudioCaps:
    """Two clips to train on, of a caption each; two to validate on, whose rows are mixed."""
    for seed, name in enumerate(("-abc_def", "vid2", "vid3", "vid4")):
        write_clip(tmp_path / "audio" / f"Y{name}.wav", seed)
    train = (("1", "-abc_def", "30", "rain"), ("2", "vid2", "0", "a dog, twice"))
    validation = (
        ("10", "vid4", "30", "a train passes"),
        ("11", "vid3", "110", "a man talks"),
        ("12", "vid4", "30", "a horn"),
        ("13", "vid4", "30", "a horn"),
        ("14", "vid3", "110", "speech"),
    )
    return AudioCaps(
        str(tmp_path / "audio"),
        write_csv(tmp_path / "train.csv", AUDIOCAPS, *train),
        write_csv(tmp_path / "val.csv", AUDIOCAPS, *validation),
        rate=RATE,
    )


# --- what the tables say ------------------------------------------------------------------------


def test_a_row_of_clotho_is_a_clip_with_its_captions_in_order(clotho: Clotho) -> None:
    source = captioned_sources(clotho)["train"]
    example = source[2]
    assert isinstance(source, Recurring) and len(source) == 3
    assert example.id == "03 - dog, barking.wav"
    assert example.captions == five(example.id)[1:]
    assert example.clips == (Clip(example.id, example.captions, (example.id,)),)
    assert example.edits is None and example.rate == RATE
    np.testing.assert_allclose(example.waves[0], noise(2), atol=2**-15)
    assert source.truth(2) == Truth(example.id, example.captions, None, (example.id,))
    assert len(list(source.texts())) == 15


def test_captions_that_are_empty_are_left_out(clotho: Clotho, tmp_path: Path) -> None:
    row = ("rain.wav", "", "it  rains ", " ", "hard", "")
    table = write_csv(tmp_path / "few.csv", CLOTHO, row)
    source = captioned_sources(replace(clotho, train=table))["train"]
    assert source[0].captions == ("it rains", "hard")


def test_rows_of_a_video_are_one_clip_with_its_captions_in_order(audiocaps: AudioCaps) -> None:
    sources = captioned_sources(audiocaps)
    assert [source.coverage for source in sources.values()] == [
        Coverage(2, 2, 2, 2),
        Coverage(5, 5, 2, 2),
    ]
    assert [sources["train"][index].captions for index in range(2)] == [
        ("rain",),
        ("a dog, twice",),
    ]
    validation = sources["validation"]
    assert [validation[index].id for index in range(len(validation))] == ["vid4", "vid3"]
    assert validation[0].captions == ("a train passes", "a horn", "a horn")
    assert validation.truth(1) == Truth("vid3", ("a man talks", "speech"), None, ("vid3",))
    np.testing.assert_allclose(validation[0].waves[0], noise(3), atol=2**-15)


@pytest.mark.parametrize(
    ("columns", "rows", "complaint"),
    [
        (CLOTHO[:4], [five("a.wav")[:4]], "line 1 lacks the columns caption_4, caption_5"),
        (CLOTHO, [], "holds no rows"),
        (CLOTHO, [five("a.wav"), ("b.wav", *" " * 5)], r"line 3 \(b.wav\) has no caption"),
        (CLOTHO, [("", *"abcde")], "line 2 has no file_name"),
        (
            CLOTHO,
            [five("a.wav"), five("b.wav"), five(" a.wav")],
            "line 4 names a.wav again, after .*x.csv line 2",
        ),
        (CLOTHO, [(*five("a.wav"), "with a comma")], "line 2 has more cells than columns"),
    ],
)
def test_a_malformed_table_of_clotho_is_refused_with_its_line(
    clotho: Clotho, tmp_path: Path, columns: Cells, rows: list[Cells], complaint: str
) -> None:
    table = write_csv(tmp_path / "x.csv", columns, *rows)
    with pytest.raises(ValueError, match=f"{table}.*{complaint}"):
        read_listed(replace(clotho, train=table))


@pytest.mark.parametrize(
    ("columns", "rows", "complaint"),
    [
        (AUDIOCAPS[:3], [("1", "a", "3")], "line 1 lacks the columns caption"),
        (AUDIOCAPS, [], "holds no rows"),
        (AUDIOCAPS, [("1", "a", "3", "x"), ("2", "a", "3", " ")], r"line 3 \(a\) has no caption"),
        (AUDIOCAPS, [("1", "#NAME?", "3", "x")], "line 2: youtube_id is '#NAME\\?'"),
        (AUDIOCAPS, [("1", "", "3", "x")], "line 2: youtube_id is ''"),
        (AUDIOCAPS, [("1", "a", "0:03", "x")], r"line 2 \(a\): start_time is '0:03'"),
        (
            AUDIOCAPS,
            [("1", "a", "3", "x"), ("2", "b", "3", "x"), ("1", "a", "3", "y")],
            "line 4 repeats the audiocap_id 1 of .*x.csv line 2",
        ),
        (
            AUDIOCAPS,
            [("1", "a", "3", "x"), ("2", "a", "30", "x")],
            "line 3: a starts at 30 s, and in .*x.csv line 2 at 3 s",
        ),
    ],
)
def test_a_malformed_table_of_audiocaps_is_refused_with_its_line(
    audiocaps: AudioCaps, tmp_path: Path, columns: Cells, rows: list[Cells], complaint: str
) -> None:
    table = write_csv(tmp_path / "x.csv", columns, *rows)
    with pytest.raises(ValueError, match=f"{table}.*{complaint}"):
        read_listed(replace(audiocaps, train=table))


def test_what_is_not_there_is_named(clotho: Clotho, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.csv: no such CSV file"):
        captioned_sources(replace(clotho, train="nowhere.csv"))
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder of audio"):
        captioned_sources(replace(clotho, audio="nowhere"))
    with pytest.raises(ValueError, match="AudioCaps names no CSV file: set train, validation or"):
        build_captioned(AudioCaps(str(tmp_path)), tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match="the rate is 0"):
        Clotho("audio", rate=0)


# --- where files are ----------------------------------------------------------------------------


def found_for(
    kind: type[Clotho] | type[AudioCaps], tmp_path: Path, names: list[str], files: list[str]
) -> dict[str, str]:
    """The files, below the folder of audio, that are found for the clips of a training split; of
    AudioCaps they start at 30 s."""
    audio = tmp_path / "found"
    audio.mkdir(exist_ok=True)
    for file in files:
        (audio / file).parent.mkdir(parents=True, exist_ok=True)
        (audio / file).touch()
    if kind is Clotho:
        table = write_csv(tmp_path / "found.csv", CLOTHO, *map(five, names))
    else:
        rows = [(str(n), name, "30", "x") for n, name in enumerate(names)]
        table = write_csv(tmp_path / "found.csv", AUDIOCAPS, *rows)
    config = kind(str(audio), table)
    found = find_listed(config, read_listed(config))["train"]
    return {name: str(Path(file).relative_to(audio)) for name, file in found.items()}


@pytest.mark.parametrize(
    "file",
    [
        "Yvid.wav",
        "vid.wav",
        "vid.FLAC",
        "train/Yvid.mp3",
        "vid_30.wav",
        "Yvid_30.wav",
        "vid_30_40.flac",
        "vid_30.0-37.5.wav",
        "train/vid_30000.wav",
        "vid_30000_40000.wav",
        "Yvid_30000_38000.flac",
    ],
)
def test_a_clip_of_audiocaps_is_found_under_its_spellings(tmp_path: Path, file: str) -> None:
    assert found_for(AudioCaps, tmp_path, ["vid"], [file]) == {"vid": file}


def test_another_clip_of_audiocaps_is_not_taken(tmp_path: Path) -> None:
    files = ["vid_3.wav", "vid_300.wav", "vid_40_30.wav", "vid_30_x.wav", "avid_30.wav", "vid.txt"]
    files += ["vid2_30.wav", "vid_x_30.wav", "YYvid.wav", "Vid.wav", "test/Yvid.wav", "vid_30.txt"]
    assert found_for(AudioCaps, tmp_path, ["vid"], files) == {}


def test_ids_that_hold_underscores_and_numbers_are_found(tmp_path: Path) -> None:
    names, files = ["_1_30_abcdE", "-1_30_abc_4"], ["_1_30_abcdE_30_40.wav", "-1_30_abc_4_30.wav"]
    assert found_for(AudioCaps, tmp_path, names, files) == dict(zip(names, files, strict=True))


def test_the_name_of_the_table_comes_before_one_with_a_start(tmp_path: Path) -> None:
    files = ["vid_30.wav", "vid.wav", "Yvid.wav", "train/vid_30.wav"]
    assert found_for(AudioCaps, tmp_path, ["vid"], files) == {"vid": "Yvid.wav"}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Rain: roof 1-2.wav", "Rain: roof 1-2.wav"),
        ("Rain: roof 1-2.wav", "development/Rain_ roof 1-2.wav"),
        ("Rain: roof 1-2.wav", "clotho_audio_development/Rain_roof_1_2.flac"),
        ("Rain: roof 1-2.wav", "dev/Rainroof1 2.wav"),
        (" typical street in Porto.wav", " typical street in Porto.wav"),
        (" typical street in Porto.wav", "typical street in Porto.WAV"),
        ("Apollonia&#39;s.wav", "Apollonia__39_s.wav"),
        ("café.wav", "cafe\u0301.wav"),  # as macOS writes it
        ("a.b.wav", "a_b.ogg"),
        ("no suffix", "no suffix.wav"),
    ],
)
def test_a_clip_of_clotho_is_found_whatever_stands_between_its_letters(
    tmp_path: Path, name: str, file: str
) -> None:
    assert found_for(Clotho, tmp_path, [name], [file]) == {name.strip(): file}


@pytest.mark.parametrize(
    "file",
    ["Rain 12.wav", "rain 1-2.wav", "Rain 1-2 3.wav", "Rain 1-2.txt", "._Rain 1_2.wav"],
)
def test_a_clip_of_clotho_with_other_letters_or_digits_is_another(
    tmp_path: Path, file: str
) -> None:
    assert found_for(Clotho, tmp_path, ["Rain 1-2.wav"], [file]) == {}


def test_a_name_that_two_files_or_two_clips_may_have_is_not_guessed(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    assert found_for(Clotho, one, ["a b.wav"], ["a_b.wav", "a-b.wav"]) == {}
    assert found_for(Clotho, other, ["a b.wav", "a:b.wav"], ["a_b.wav"]) == {}
    (other / "found" / "a b.wav").touch()  # now only one of the clips is left, and one file
    assert found_for(Clotho, other, ["a b.wav", "a:b.wav"], []) == {
        "a b.wav": "a b.wav",
        "a:b.wav": "a_b.wav",
    }


def test_letters_without_any_are_alike_to_nothing(tmp_path: Path) -> None:
    assert found_for(Clotho, tmp_path, ["(-).wav"], ["[_].wav"]) == {}


def test_a_file_that_another_split_names_is_not_taken(tmp_path: Path) -> None:
    write_clip(tmp_path / "audio" / "rain_1.wav")
    train = write_csv(tmp_path / "train.csv", CLOTHO, five("rain 1.wav"))
    test = write_csv(tmp_path / "test.csv", CLOTHO, five("rain_1.wav"))
    config = Clotho(str(tmp_path / "audio"), train, test=test)
    assert {split: set(f) for split, f in find_listed(config, read_listed(config)).items()} == {
        "train": set(),
        "test": {"rain_1.wav"},
    }


def test_each_split_finds_its_own_file_of_a_name(clotho: Clotho) -> None:
    sources = captioned_sources(clotho)
    np.testing.assert_allclose(sources["train"].wave("rain.wav"), noise(1), atol=2**-15)
    np.testing.assert_allclose(sources["test"].wave("rain.wav"), noise(9), atol=2**-15)


# --- tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["clotho", "audiocaps"])
def test_tables_give_back_every_clip_with_its_captions(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = request.getfixturevalue(kind)
    report = build_captioned(config, tmp_path / "out", progress=False)
    sources = captioned_sources(config)
    assert report.pairs == report.clips == {split: len(of) for split, of in sources.items()}
    for split, made in sources.items():
        opened = TableSource(Table(str(tmp_path / "out"), split))
        for source in (opened, pickle.loads(pickle.dumps(opened))):
            assert len(source) == len(made)
            assert source.coverage == coverage_of(made) == report.coverage[split]
            assert list(source.texts()) == list(made.texts())
            for index in range(len(made)):
                stored, expected = source[index], made[index]
                assert len(stored.waves) == 1 and stored.rate == RATE
                np.testing.assert_allclose(stored.waves[0], expected.waves[0], atol=2**-15)
                assert replace(stored, waves=()) == replace(expected, waves=())
                assert source.truth(index) == made.truth(index)
                assert source.clip_captions(index) == (expected.captions,)


def test_a_source_is_picklable(clotho: Clotho) -> None:
    source = captioned_sources(clotho)["train"]
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[1].waves[0], source[1].waves[0])
    assert again.truth(1) == source.truth(1)


def test_clips_are_stored_at_the_rate_asked_for_and_within_full_scale(
    clotho: Clotho, tmp_path: Path
) -> None:
    loud = 1.2 * np.sin(np.arange(800) / 5)
    sf.write(tmp_path / "audio/development/rain.wav", loud, RATE, subtype="FLOAT")
    build_captioned(replace(clotho, rate=16_000), tmp_path / "out", progress=False)
    example = TableSource(Table(str(tmp_path / "out")))[1]
    assert example.rate == 16_000 and example.waves[0].shape == (1600,)
    assert np.abs(example.waves[0]).max() == pytest.approx(1.0, abs=1e-4)
    assert Clotho("").rate == AudioCaps("").rate == 44_100


def test_clips_that_cannot_be_had_are_listed_and_can_be_excluded(
    audiocaps: AudioCaps, tmp_path: Path
) -> None:
    audio, out = Path(audiocaps.audio), tmp_path / "out"
    (audio / "Yvid4.wav").unlink()
    (audio / "Y-abc_def.wav").write_text("not audio")
    with pytest.raises(FileNotFoundError) as caught:
        build_captioned(audiocaps, out, progress=False)
    said = str(caught.value)
    assert "vid4: there is no such file" in said and "cannot be read as audio" in said
    assert "train: 1 clips cannot be had" in said and "validation: 1 clips cannot be had" in said
    assert "Without them there would be 1 of 2 clips, 2 of 5 rows (40.0%)" in said
    assert f"{out}/missing.txt lists what --exclude then needs" in said
    assert not (out / "clips").exists()
    assert (out / "missing.txt").read_text() == "-abc_def\nvid4\n"
    without = replace(audiocaps, exclude=str(out / "missing.txt"))
    report = build_captioned(without, out, progress=False)
    assert report.pairs == {"train": 1, "validation": 1}
    assert TableSource(Table(str(out), "validation")).coverage == Coverage(2, 5, 1, 2)
    assert TableSource(Table(str(out), "train")).coverage == Coverage(1, 2, 1, 2)


def test_a_list_of_missing_clips_keeps_what_was_excluded_already(
    clotho: Clotho, tmp_path: Path
) -> None:
    folder = tmp_path / "audio" / "development"
    sf.write(folder / "03 - dog, barking.wav", np.zeros(800), RATE)
    (tmp_path / "list").write_text("Ship's engine (1)\n")
    without = replace(clotho, exclude=str(tmp_path / "list"))
    with pytest.raises(FileNotFoundError, match="silent throughout") as caught:
        build_captioned(without, tmp_path / "out", progress=False)
    assert "1 of 3 clips, 1 of 3 rows (33.3%)" in str(caught.value)
    listed = tmp_path / "out" / "missing.txt"
    assert listed.read_text() == "Ship's engine (1)\n03 - dog, barking.wav\n"
    report = build_captioned(replace(clotho, exclude=str(listed)), tmp_path / "out", False)
    assert report.pairs == {"train": 1, "test": 1}


@pytest.mark.parametrize("form", ["vid3", "Yvid3", "vid3.wav", "vid3_110_120.flac"])
def test_a_clip_is_excluded_by_its_name_or_its_file(
    audiocaps: AudioCaps, tmp_path: Path, form: str
) -> None:
    audio = Path(audiocaps.audio)
    (audio / "Yvid3.wav").rename(audio / "vid3_110_120.wav")
    (tmp_path / "list").write_text(f"{form}\n")
    source = captioned_sources(replace(audiocaps, exclude=str(tmp_path / "list")))["validation"]
    assert [source[index].id for index in range(len(source))] == ["vid4"]
    assert source.coverage == Coverage(3, 5, 1, 2)


def test_exclusions_that_name_no_clip_or_every_clip_are_refused(
    clotho: Clotho, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("snow.wav\n")
    without = replace(clotho, exclude=str(tmp_path / "list"))
    with pytest.raises(ValueError, match="list names 1 clips that no table names.*snow.wav"):
        captioned_sources(without)
    (tmp_path / "list").write_text("rain.wav\n")
    with pytest.raises(ValueError, match="list leaves none of the 1 clips"):
        captioned_sources(without)
    with pytest.raises(FileNotFoundError, match="no such list"):
        captioned_sources(replace(clotho, exclude="nowhere"))


def test_a_clip_that_is_not_there_is_named_when_it_is_read(clotho: Clotho) -> None:
    (Path(clotho.audio) / "development" / "03 - dog, barking.wav").unlink()
    source = captioned_sources(clotho)["train"]
    source[1]
    with pytest.raises(AudioError, match="dog, barking.wav: there is no such file"):
        source[2]


# --- the commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["clotho", "audiocaps"])
def test_the_command_builds_tables_and_names_what_is_missing(
    kind: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = request.getfixturevalue(kind)
    arguments = ["data", kind, "--audio", config.audio, "--rate", str(RATE)]
    for split, table in config.tables.items():
        arguments += [f"--{split}", table]
    cli.main([*arguments, "--out", str(tmp_path / "out")])
    clips = {"clotho": 3, "audiocaps": 2}[kind]
    said = capsys.readouterr().out
    assert f"train: {clips} pairs of {clips} clips" in said and "train: coverage" in said
    assert len(TableSource(Table(str(tmp_path / "out")))) == clips

    file = {"clotho": "development/rain.wav", "audiocaps": "Yvid2.wav"}[kind]
    (Path(config.audio) / file).unlink()
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "--out", str(tmp_path / "other")])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and "adiff data: train: 1 clips cannot be had from" in said
    listed = tmp_path / "other" / "missing.txt"
    assert f"{listed} lists what --exclude then needs" in said
    if kind == "audiocaps":  # Clotho's test split has a clip of that name, and no other
        cli.main([*arguments, "--exclude", str(listed), "--out", str(tmp_path / "other")])
        assert "coverage 1 of 2 clips, 1 of 2 rows (50.0%)" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["clotho", "audiocaps"])
def test_the_commands_teach_themselves(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["data", kind, "--help"])
    said = capsys.readouterr().out
    assert f"adiff data {kind} --audio" in said and "OUT/missing.txt" in said
