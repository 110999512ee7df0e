"""Verification: one finding of each kind is named, and a sound folder gives none."""

import re
import shutil
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import soundfile as sf

from adiff_jax.data.builders.table_source import TableSource
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.export import write_pairs
from adiff_jax.data.sources import NaturalPairs, SynthPairs, open_source
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.verify import verify

RATE = 16_000


def noise(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(seed).standard_normal(RATE)
    sf.write(path, wave, RATE)
    return path


@pytest.fixture
def splits(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of three sound clips each."""
    for split in range(2):
        for clip in range(3):
            noise(tmp_path / f"split{split}" / f"{clip}.wav", 10 * split + clip)
    return tmp_path / "split0", tmp_path / "split1"


def paths(*folders: Path) -> list[str]:
    return [str(folder) for folder in folders]


def test_sound_splits_are_clean_and_counted(splits: tuple[Path, Path]) -> None:
    report = verify(paths(*splits))
    assert report.clean
    assert report.counts == {str(split): 3 for split in splits}
    assert f"{splits[0]}: 3 clips" in str(report) and "broken: none" in str(report)


def test_broken_and_silent_clips_are_named(splits: tuple[Path, Path]) -> None:
    (splits[0] / "0.wav").write_text("shopping list")
    whole = (splits[0] / "1.wav").read_bytes()
    (splits[0] / "1.wav").write_bytes(whole[:5000])
    sf.write(splits[1] / "2.wav", np.zeros(RATE), RATE)
    report = verify(paths(*splits))
    assert not report.clean
    assert [line.split()[0] for line in report.broken] == paths(
        splits[0] / "0.wav", splits[0] / "1.wav"
    )
    assert "truncated" in report.broken[1]
    assert len(report.silent) == 1 and str(splits[1] / "2.wav") in report.silent[0]
    assert not report.missing and not report.duplicated
    assert str(splits[1] / "2.wav") in str(report)


def test_the_same_audio_in_two_splits_is_found_under_other_names_and_formats(
    splits: tuple[Path, Path],
) -> None:
    shutil.copy(splits[0] / "1.wav", splits[0] / "again.wav")  # within a split: no leak
    samples, rate = sf.read(splits[0] / "1.wav", dtype="int16")
    sf.write(splits[1] / "other.flac", samples, rate)
    report = verify(paths(*splits))
    (again,) = report.repeated
    assert str(splits[0] / "1.wav") in again and str(splits[0] / "again.wav") in again
    assert "same audio twice in one split (no fault): 1" in str(report)
    assert len(report.duplicated) == 1
    assert str(splits[0] / "1.wav") in report.duplicated[0]
    assert str(splits[1] / "other.flac") in report.duplicated[0]


@pytest.fixture(params=["column", "names", "official", "folder of names"])
def folds(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[Path]]:
    """A folder of two folds, and its four clips: 1-A, 1-B of one recording, 2-A, 2-B of another."""
    root = tmp_path / "esc"
    official, named = request.param == "official", request.param != "column"
    audio = root / "audio" if official else root / "dog"
    stems = ("1-100-A", "1-100-B", "2-200-A", "2-200-B") if named else ("a", "b", "c", "d")
    clips = [noise(audio / f"{stem}.wav", seed) for seed, stem in enumerate(stems)]
    rows = [f"{clip.name},{number // 2 + 1}" for number, clip in enumerate(clips)]
    match request.param:
        case "column":
            rows = [f"dog/{row},recording {row[-1]}" for row in rows]
            (root / "clips.csv").write_text("\n".join(["file,fold,original", *rows]))
        case "names":
            rows = [f"dog/{clip.name}" for clip in clips]
            (root / "clips.csv").write_text("\n".join(["file", *rows]))
        case "official":
            (root / "meta").mkdir()
            (root / "meta" / "esc50.csv").write_text("\n".join(["filename,fold", *rows]))
    return root, clips


def test_folds_are_splits_and_what_two_of_them_share_is_found(
    folds: tuple[Path, list[Path]],
) -> None:
    root, clips = folds
    report = verify(paths(root))
    assert report.counts == {f"{root}, fold 1": 2, f"{root}, fold 2": 2}
    assert report.clean, str(report)
    shutil.copy(clips[0], clips[3])
    report = verify(paths(root))
    assert not report.clean and not report.repeated
    (line,) = report.duplicated
    assert str(clips[0]) in line and str(clips[3]) in line


def test_one_file_in_two_folds_is_found(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", 0)
    (tmp_path / "clips.csv").write_text("file,fold\na.wav,1\na.wav,1\na.wav,2\n")
    report = verify(paths(tmp_path))
    assert len(report.duplicated) == 1 and list(report.counts.values()) == [1, 1]


def test_takes_of_one_original_in_two_folds_are_found(tmp_path: Path) -> None:
    rows = [f"{noise(tmp_path / f'{n}.wav', n).name},{n % 2},bird {n // 3}" for n in range(4)]
    (tmp_path / "clips.csv").write_text("\n".join(["file,fold,original", *rows]))
    report = verify(paths(tmp_path))
    assert report.shared == [f"bird 0: in {tmp_path}, fold 0 and {tmp_path}, fold 1"]
    assert not report.clean and not report.duplicated


def test_takes_of_one_esc_recording_in_two_folders_are_found(splits: tuple[Path, Path]) -> None:
    (splits[0] / "0.wav").rename(splits[0] / "1-100-A.wav")
    (splits[1] / "0.wav").rename(splits[1] / "1-100-B.wav")
    report = verify(paths(*splits))
    assert report.shared == [f"1-100: in {splits[0]}, fold 1 and {splits[1]}, fold 1"]


def test_tables_are_verified_split_by_split_and_against_files(
    splits: tuple[Path, Path], tmp_path: Path
) -> None:
    made = Procedural("train", 2)
    sources = {
        name: open_source(SynthPairs(made, Recipe(duration=5.0), split=name, size=3))
        for name in ("train", "test")
    }
    build_tables(sources, tmp_path / "tables", progress=False)
    alone = verify([str(tmp_path / "tables")])
    assert list(alone.counts) == [f"{tmp_path}/tables, {name}" for name in ("train", "test")]
    assert set(alone.counts.values()) == {6}
    assert not alone.duplicated and not alone.broken
    assert alone.shared and all(line.endswith(", test") for line in alone.shared)
    write_pairs(sources["test"], str(tmp_path / "files"))
    both = verify([str(tmp_path / "files"), str(tmp_path / "tables")])
    assert len(both.duplicated) == 6
    assert re.search(r"tables, test: test/000000-1 \(SHA-256 [0-9a-f]{64}\)", both.duplicated[0])


def test_a_table_whose_bytes_changed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(SynthPairs(Procedural("train", 2), Recipe(duration=5.0), size=2))
    build_tables({"train": source}, tmp_path / "tables", progress=False)
    monkeypatch.setattr(TableSource, "dangling", lambda self: ["pair 7 names a clip"])
    monkeypatch.setattr("adiff_jax.data.builders.table_source.hashlib", MagicMock())
    report = verify([str(tmp_path / "tables")])
    assert len(report.broken) == 4 and "do not match their SHA-256" in report.broken[0]
    assert report.missing == [f"{tmp_path}/tables, train: pair 7 names a clip"]


def test_a_row_whose_file_is_missing_is_named_by_table_and_line(tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    write_pairs(open_source(SynthPairs(Procedural(recordings_per_class=2), size=3)), str(out))
    assert verify([str(out)]).clean and verify([str(out / "pairs.csv")]).clean
    (out / "audio" / "train_000001-2.flac").unlink()
    report = verify([str(out / "pairs.csv")])
    assert len(report.missing) == 1
    assert "pairs.csv, line 3" in report.missing[0] and "train_000001-2" in report.missing[0]


def test_original_recordings_in_two_splits_are_reported(tmp_path: Path) -> None:
    folders = []
    for name, recordings in (
        ("train", Procedural("train", 2)),
        ("heldout", Procedural("heldout", 2)),
        ("leak", Procedural("train", 3)),
    ):
        config = NaturalPairs(recordings, split=name, size=4)
        write_pairs(open_source(config), str(tmp_path / name))
        folders.append(str(tmp_path / name))
    assert verify(folders[:2]).clean
    leaking = verify([folders[0], folders[2]])
    assert leaking.shared
    assert all("/train-0-" in line and folders[2] in line for line in leaking.shared)


def test_esc10_and_its_folds_are_clean(data_directory: Path, tmp_path: Path) -> None:
    rows = (data_directory / "esc10" / "clips.csv").read_text().splitlines()
    folders = []
    for fold in ("3", "4"):
        folder = tmp_path / fold
        folder.mkdir()
        chosen = [r for r in rows[1:] if r.split(",")[2] == fold and r.startswith("rooster")]
        (folder / "clips.csv").write_text("\n".join([rows[0], *chosen]))
        (folder / "rooster").symlink_to(data_directory / "esc10" / "rooster")
        folders.append(str(folder))
    report = verify(folders)
    assert report.clean, str(report)
    assert list(report.counts.values()) == [8, 8]


def test_a_table_saved_by_a_spreadsheet_is_read(splits: tuple[Path, Path]) -> None:
    (splits[0] / "clips.csv").write_text("file\n0.wav\n", encoding="utf-8-sig")
    assert verify(paths(splits[0])).counts == {str(splits[0]): 1}
    (splits[0] / "clips.csv").write_text("file\né.wav\n", encoding="latin-1")
    with pytest.raises(ValueError, match="clips.csv, line 2: .* save the file as UTF-8"):
        verify(paths(splits[0]))


def test_a_folder_is_found_where_training_finds_it(
    splits: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADIFF_DATA", str(splits[0].parent))
    monkeypatch.chdir("/")
    assert verify([splits[0].name]).counts == verify([str(splits[0])]).counts


def test_paths_that_are_no_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a CSV table nor a folder: no folder of rec"):
        verify([str(tmp_path / "nowhere")])
    with pytest.raises(ValueError, match="nor any audio file"):
        verify([str(tmp_path)])
    (tmp_path / "t.csv").write_text("path,words\n")
    with pytest.raises(ValueError, match=r"t.csv has the columns path, words; expected s1_fn"):
        verify([str(tmp_path / "t.csv")])
