"""ACD and CLD: the published files are read, the user's audio is found, tables carry the rest."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from adiff_jax import cli
from adiff_jax.data.builders.clip_files import Exclusions, find_clips, read_exclusions, stem_of
from adiff_jax.data.builders.explanation_files import read_pairs
from adiff_jax.data.builders.explanations import (
    ExplanationFiles,
    ExplanationSource,
    build_explanations,
)
from adiff_jax.data.builders.table_source import Table, TableSource
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.prompts import CANONICAL
from adiff_jax.data.schema import Coverage

RATE = 8_000
COLUMNS = ("taskname", "filepath1", "filepath2", "caption1", "caption2", "input", "answer")
ASKED = {
    1: "explain the difference in few words",
    2: "explain the difference in a sentence",
    3: "explain the difference in detail",
}
# Four clips, five pairs; the third pairs a clip with itself, the last repeats the first.
PAIRS = ((0, 1), (1, 2), (2, 2), (3, 0), (0, 1))

Row = dict[str, str]


def clip_name(number: int) -> str:
    return f"AudioCapsLarger/val/Yclip_{number}.wav"


def rows_of(tier: int) -> list[Row]:
    cells = (
        (
            "audiocaps",
            clip_name(first),
            clip_name(second),
            f"sound {first}, heard {row % 2} times",
            f"sound {second}",
            ASKED[tier],
            f'Tier {tier} of row {row}: "they differ",\nquite a lot',
        )
        for row, (first, second) in enumerate(PAIRS)
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells]


def write_csv(path: Path, rows: list[Row]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def write_tiers(folder: Path, *tiers: int) -> tuple[str, ...]:
    return tuple(write_csv(folder / f"tier{tier}.csv", rows_of(tier)) for tier in tiers)


def write_audio(
    folder: Path, suffix: str = ".wav", numbers: tuple[int, ...] = (0, 1, 2, 3)
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        wave = np.random.default_rng(number).uniform(-0.5, 0.5, 800)
        sf.write(folder / f"Yclip_{number}{suffix}", wave, RATE)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> ExplanationFiles:
    write_audio(tmp_path / "audio" / "AudioCapsLarger" / "val")
    validation = write_tiers(tmp_path, 3, 1, 2)  # in any order
    return ExplanationFiles(str(tmp_path / "audio"), validation=validation, rate=RATE)


# --- the published files ------------------------------------------------------------------------


def test_pairs_have_one_answer_a_tier_and_keep_their_order(tmp_path: Path) -> None:
    pairs = read_pairs(write_tiers(tmp_path, 2, 3, 1))
    assert [pair.clips for pair in pairs] == [(clip_name(a), clip_name(b)) for a, b in PAIRS]
    assert pairs[2].id == "audiocaps/000002"
    assert pairs[1].captions == ("sound 1, heard 1 times", "sound 2")
    assert list(pairs[4].answers) == [1, 2, 3]
    assert pairs[4].answers[3] == rows_of(3)[4]["answer"]


def test_a_split_may_lack_a_tier(tmp_path: Path) -> None:
    assert list(read_pairs(write_tiers(tmp_path, 2, 1))[0].answers) == [1, 2]


def test_a_row_that_differs_between_tiers_is_named(tmp_path: Path) -> None:
    tables = write_tiers(tmp_path, 1, 2, 3)
    rows = rows_of(2)
    rows[1], rows[2] = rows[2], rows[1]
    write_csv(tmp_path / "tier2.csv", rows)
    complaint = r"row 2 differs: filepath1 .*clip_1.* in .*tier1.csv \(line 5\) and .*clip_2.*"
    with pytest.raises(ValueError, match=complaint + r"tier2.csv \(line 5\)"):
        read_pairs(tables)


def other_caption(rows: list[Row]) -> None:
    rows[3]["caption2"] = "another sound"


def one_row_less(rows: list[Row]) -> None:
    del rows[-1]


def other_tier(rows: list[Row]) -> None:
    rows[1]["input"] = ASKED[3]


def no_tier(rows: list[Row]) -> None:
    rows[0]["input"] = "compare them"


def no_answer(rows: list[Row]) -> None:
    rows[0]["answer"] = " "


def no_rows(rows: list[Row]) -> None:
    rows.clear()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (other_caption, "row 4 differs: caption2 is 'sound 0' in"),
        (one_row_less, "tier1.csv holds 5 rows, .*tier2.csv 4; the tiers of a split"),
        (
            other_tier,
            "tier2.csv line 5: input is 'explain the difference in detail'.*with sentence",
        ),
        (no_tier, "tier2.csv line 3: input is 'compare them'; a file asks for one tier"),
        (no_answer, "tier2.csv line 2: answer is empty"),
        (no_rows, "tier2.csv holds no rows"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, spoil: Callable[[list[Row]], None], complaint: str
) -> None:
    tables = write_tiers(tmp_path, 1, 2)
    rows = rows_of(2)
    spoil(rows)
    write_csv(tmp_path / "tier2.csv", rows)
    with pytest.raises(ValueError, match=complaint):
        read_pairs(tables)


def test_two_files_of_one_tier_are_refused(tmp_path: Path) -> None:
    tables = write_tiers(tmp_path, 1)
    with pytest.raises(ValueError, match="both hold tier 1"):
        read_pairs((*tables, write_csv(tmp_path / "again.csv", rows_of(1))))


def test_a_file_that_is_missing_or_lacks_columns_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.csv: no such CSV file"):
        read_pairs([tmp_path / "nowhere.csv"])
    (tmp_path / "other.csv").write_text("taskname,input\na,b\n")
    with pytest.raises(ValueError, match="lacks the columns filepath1, filepath2, caption1, capt"):
        read_pairs([tmp_path / "other.csv"])


def test_the_published_validation_split_of_acd_is_read_whole(data_directory: Path) -> None:
    tables = sorted((data_directory / "adiff_pairs").glob("acd_val_*.csv"))
    if not tables:
        pytest.skip(f"no acd_val_*.csv in {data_directory}/adiff_pairs")
    source = ExplanationSource(tables, data_directory)
    assert len(source.pairs) == 2456 and len(source) == 3 * 2456 and source.tiers == (1, 2, 3)
    assert source.coverage == Coverage(2456, 2456, 494, 494)
    assert sum(len(set(pair.clips)) == 1 for pair in source.pairs) == 1
    assert {len(clip.captions) for clip in source.clips.values()} == {2, 3, 4, 5}
    ids = {source.truth(index).id for index in range(len(source))}
    assert len(ids) == len(source)
    assert source.truth(0).recordings == ("YvfY_TJq7n_U", "YvtnWVwQGvg4")
    assert {source.truth(i).prompt: i % 3 for i in range(9)} == {
        CANONICAL[f"tier-{tier}"]: tier - 1 for tier in (1, 2, 3)
    }


# --- clips --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["AudioCapsLarger/val", "val", "."])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".WAV"])
def test_clips_are_found_by_their_innermost_folder_and_under_other_suffixes(
    tmp_path: Path, inside: str, suffix: str
) -> None:
    write_audio(tmp_path / inside, suffix, (1, 2))
    found = find_clips(map(clip_name, range(4)), tmp_path)
    assert found.keys() == {clip_name(1), clip_name(2)}
    assert Path(found[clip_name(1)]).samefile(tmp_path / inside / f"Yclip_1{suffix}")


def test_names_are_never_guessed(tmp_path: Path) -> None:
    for name in ("clip_1.wav", "yclip_1.wav", "Yclip_1 .wav", "Yclip_1.txt", "Yclip_11.wav"):
        (tmp_path / name).touch()
    assert find_clips([clip_name(1)], tmp_path) == {}


def test_the_suffix_and_the_folder_of_the_table_come_first(tmp_path: Path) -> None:
    for place in ("Yclip_1.wav", "val/Yclip_1.flac", "val/Yclip_1.wav"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    found = find_clips([clip_name(1)], tmp_path)[clip_name(1)]
    assert Path(found).samefile(tmp_path / "val/Yclip_1.wav")


def test_a_name_without_suffix_keeps_its_points(tmp_path: Path) -> None:
    (tmp_path / "a.b.flac").touch()
    assert stem_of("x/a.b") == stem_of("a.b.flac") == "a.b"
    assert find_clips(["x/a.b"], tmp_path).keys() == {"x/a.b"}


def test_a_clip_is_excluded_by_its_name_in_any_form(tmp_path: Path) -> None:
    for form in (clip_name(1), "Yclip_1.wav", "Yclip_1"):
        (tmp_path / "list.txt").write_text(f"\n{form}\n")
        listed = read_exclusions(str(tmp_path / "list.txt"))
        assert clip_name(1) in listed and clip_name(2) not in listed
        listed.check([clip_name(1)])
        with pytest.raises(ValueError, match="list.txt names 1 clips that no table names.*clip_1"):
            listed.check([clip_name(2)])
    assert clip_name(1) not in Exclusions()
    with pytest.raises(FileNotFoundError, match="no such list"):
        read_exclusions(str(tmp_path / "nothing.txt"))


# --- tables -------------------------------------------------------------------------------------


def test_tables_hold_every_tier_of_every_pair_and_each_clip_once(
    files: ExplanationFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    wave = ExplanationSource.wave
    monkeypatch.setattr(
        ExplanationSource, "wave", lambda self, name: reads.append(name) or wave(self, name)
    )
    report = build_explanations(files, tmp_path / "out", progress=False)
    assert (report.pairs, report.clips) == ({"validation": 15}, {"validation": 4})
    assert len(reads) == 8  # once to check it, once to store it
    source = TableSource(Table(str(tmp_path / "out"), "validation"))
    direct = ExplanationSource(files.validation, files.audio, rate=RATE)
    assert len(source) == len(direct) == 15
    for index in range(15):
        stored, expected = source[index], direct[index]
        assert stored.waves[0].shape == (800,)
        for one, other in zip(stored.waves, expected.waves, strict=True):
            np.testing.assert_allclose(one, other, atol=2**-15)
        assert replace(stored, waves=()) == replace(expected, waves=())
        assert source.truth(index) == direct.truth(index)
        assert source.clip_captions(index) == direct.clip_captions(index)
    assert source[6].id == "audiocaps/000002/tier-1"
    assert source[6].recordings == ("Yclip_2",)  # the clip that is paired with itself
    assert source[0].scene == source[2].scene == source[12].scene != source[3].scene
    assert [source.truth(i).tier for i in range(4)] == [1, 2, 3, 1]
    assert source[4].prompt == CANONICAL["tier-2"]
    assert source[0].clips[0].captions == ("sound 0, heard 0 times", "sound 0")
    assert source.clip_captions(0) == (("sound 0, heard 0 times",), ("sound 1",))
    assert source.coverage == report.coverage["validation"] == Coverage(5, 5, 4, 4)


def test_clips_that_are_missing_or_broken_are_listed_with_the_coverage(
    files: ExplanationFiles, tmp_path: Path
) -> None:
    folder = Path(files.audio) / "AudioCapsLarger" / "val"
    (folder / "Yclip_3.wav").unlink()
    sf.write(folder / "Yclip_2.wav", np.zeros(800), RATE)
    with pytest.raises(FileNotFoundError) as caught:
        build_explanations(files, tmp_path / "out", progress=False)
    said = str(caught.value)
    assert "validation: 2 clips cannot be had from" in said
    assert f"{clip_name(3)}: there is no such file" in said and "silent throughout" in said
    assert "there would be 2 of 4 clips, 2 of 5 rows (40.0%)" in said
    assert not (tmp_path / "out" / "clips").exists()
    listed = tmp_path / "out" / "missing.txt"
    assert str(listed) in said
    assert sorted(listed.read_text().split()) == [clip_name(2), clip_name(3)]
    report = build_explanations(
        replace(files, exclude=str(listed)), tmp_path / "out", progress=False
    )
    assert report.pairs == {"validation": 6} and report.clips == {"validation": 2}
    assert "validation: coverage 2 of 4 clips, 2 of 5 rows (40.0%)" in str(report)
    source = TableSource(Table(str(tmp_path / "out"), "validation"))
    assert source.coverage == Coverage(2, 5, 2, 4)
    assert [source.truth(i).id for i in (0, 3)] == [
        "audiocaps/000000/tier-1",  # rows keep their numbers
        "audiocaps/000004/tier-1",
    ]


def test_a_missing_clip_is_reported_though_others_are_excluded(
    files: ExplanationFiles, tmp_path: Path
) -> None:
    (Path(files.audio) / "AudioCapsLarger" / "val" / "Yclip_1.wav").unlink()
    (tmp_path / "list").write_text("Yclip_3\n")
    with pytest.raises(FileNotFoundError, match="1 clips cannot be had"):
        build_explanations(replace(files, exclude=str(tmp_path / "list")), tmp_path / "out", False)
    assert (tmp_path / "out" / "missing.txt").read_text().split() == ["Yclip_3", clip_name(1)]


def test_exclusions_that_leave_nothing_are_refused(files: ExplanationFiles, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("Yclip_0\nYclip_2\n")
    with pytest.raises(ValueError, match="list leaves none of its pairs"):
        build_explanations(replace(files, exclude=str(tmp_path / "list")), tmp_path / "out", False)


def test_a_clip_above_full_scale_is_limited_to_it(files: ExplanationFiles, tmp_path: Path) -> None:
    loud = Path(files.audio) / "AudioCapsLarger" / "val" / "Yclip_0.wav"
    sf.write(loud, 1.2 * np.sin(np.arange(800) / 5), RATE, subtype="FLOAT")
    build_explanations(files, tmp_path / "out", progress=False)
    wave = TableSource(Table(str(tmp_path / "out"), "validation"))[0].waves[0]
    assert np.abs(wave).max() == pytest.approx(1.0, abs=1e-4)


def test_coverage_goes_from_tables_into_tables(files: ExplanationFiles, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("Yclip_3\n")
    build_explanations(replace(files, exclude=str(tmp_path / "list")), tmp_path / "one", False)
    source = TableSource(Table(str(tmp_path / "one"), "validation"))
    build_tables({"again": source}, tmp_path / "two", progress=False)
    again = TableSource(Table(str(tmp_path / "two"), "again"))
    assert again.coverage == source.coverage == Coverage(4, 5, 3, 4)
    assert again.clip_captions(3) == source.clip_captions(3)


def test_the_command_builds_tables_and_names_what_is_missing(
    files: ExplanationFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "explanations", "--audio", files.audio, "--rate", str(RATE)]
    arguments += ["--validation", *files.validation, "--out", str(tmp_path / "out")]
    cli.main(arguments)
    assert "validation: 15 pairs of 4 clips" in capsys.readouterr().out
    assert len(TableSource(Table(str(tmp_path / "out"), "validation"))) == 15
    (Path(files.audio) / "AudioCapsLarger" / "val" / "Yclip_3.wav").unlink()
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments[:-1], str(tmp_path / "other")])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "adiff data: validation: 1 clips cannot be had" in said and "--exclude" in said


def test_no_split_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set train, validation or test"):
        build_explanations(ExplanationFiles(str(tmp_path)), tmp_path / "out", False)


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="the rate is 0"):
        ExplanationFiles("audio", rate=0)
