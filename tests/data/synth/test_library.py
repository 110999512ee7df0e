"""Libraries of recordings: three layouts are one library, takes stay together."""

import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from adiff_jax.data.synth.layouts import Recording, label_of
from adiff_jax.data.synth.library import (
    Folder,
    Library,
    Procedural,
    open_library,
    validation_originals,
)

RATE = 8_000
CLIPS = (  # name, fold, official category, category elsewhere, ESC-10
    ("1-100-A", 1, "dog", "dog_bark", True),
    ("1-100-B", 1, "dog", "dog_bark", True),
    ("2-200-A", 2, "dog", "dog_bark", True),
    ("1-300-A", 1, "rain", "rain", True),
    ("2-400-A", 2, "rain", "rain", True),
    ("2-500-A", 2, "cat", "cat", False),
)
BACKGROUNDS = ("rain",)


def write_clip(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(seed).standard_normal(RATE)
    wave[: RATE // 4] = 0
    sf.write(path, wave, RATE)


@pytest.fixture
def layouts(tmp_path: Path) -> dict[str, Path]:
    """The same clips in the three layouts."""
    table = ["file,category,fold"]
    official = ["filename,fold,target,category,esc10,src_file,take"]
    for seed, (name, fold, esc_category, category, esc10) in enumerate(CLIPS):
        source, take = name.split("-")[1:]
        write_clip(tmp_path / "table" / category / f"{name}.wav", seed)
        table.append(f"{category}/{name}.wav,{category},{fold}")
        write_clip(tmp_path / "official" / "audio" / f"{name}-{seed}.wav", seed)
        official.append(f"{name}-{seed}.wav,{fold},{seed},{esc_category},{esc10},{source},{take}")
        folder = f"{seed:03d} - {category.replace('_', ' ').capitalize()}"
        if category == "dog_bark":
            folder = "001 - Dog bark"
        write_clip(tmp_path / "classes" / folder / f"{name}.wav", seed)
    (tmp_path / "table" / "clips.csv").write_text("\n".join(table) + "\n")
    (tmp_path / "official" / "meta").mkdir()
    (tmp_path / "official" / "meta" / "esc50.csv").write_text("\n".join(official) + "\n")
    return {name: tmp_path / name for name in ("table", "official", "classes")}


def listed(library: Library) -> list[Recording]:
    return [r for label in library.labels for r in library.recordings(label)]


def test_the_three_layouts_of_the_same_clips_are_one_library(layouts: dict[str, Path]) -> None:
    libraries = [open_library(Folder(str(p), (), BACKGROUNDS), RATE) for p in layouts.values()]
    assert listed(libraries[0]) == listed(libraries[1])
    # clips whose class folder is numbered keep label, original and fold
    assert listed(libraries[0]) == listed(libraries[2])
    assert libraries[0].labels == ("cat", "dog_bark", "rain")
    assert libraries[0].events == ("cat", "dog_bark") and libraries[0].backgrounds == ("rain",)
    for recording in listed(libraries[0]):
        waves = [library.wave(recording) for library in libraries]
        assert np.array_equal(waves[0], waves[1]) and np.array_equal(waves[0], waves[2])


def test_takes_share_an_original_and_folds_are_kept(layouts: dict[str, Path]) -> None:
    library = open_library(Folder(str(layouts["official"]), (), BACKGROUNDS), RATE)
    dogs = library.recordings("dog_bark")
    assert [(r.name, r.original, r.fold) for r in dogs] == [
        ("dog_bark/1-100-A", "1-100", 1),
        ("dog_bark/1-100-B", "1-100", 1),
        ("dog_bark/2-200-A", "2-200", 2),
    ]


def test_folds_and_the_esc10_subset_select_clips(layouts: dict[str, Path]) -> None:
    path = str(layouts["official"])
    second = open_library(Folder(path, (2,), BACKGROUNDS), RATE)
    assert {r.fold for r in listed(second)} == {2} and len(listed(second)) == 3
    ten = open_library(Folder(path, (), BACKGROUNDS, subset="esc10"), RATE)
    assert ten.labels == ("dog_bark", "rain")


def test_a_relative_path_is_looked_up_under_the_data_folder(
    layouts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADIFF_DATA", str(layouts["table"].parent))
    assert len(listed(open_library(Folder("table", (), BACKGROUNDS), RATE))) == len(CLIPS)


def test_silence_is_trimmed_and_the_level_kept(layouts: dict[str, Path]) -> None:
    library = open_library(Folder(str(layouts["table"]), (), BACKGROUNDS), RATE)
    recording = library.recordings("cat")[0]
    raw, _ = sf.read(layouts["table"] / "cat" / "2-500-A.wav", dtype="float32")
    wave = library.wave(recording)
    assert abs(len(wave) - 0.75 * RATE) <= 80
    assert np.abs(wave).max() == pytest.approx(np.abs(raw).max(), rel=1e-5)
    assert np.abs(library.sound(recording).wave).max() == pytest.approx(1.0)


def test_a_recording_that_is_one_click_keeps_a_hop_around_it() -> None:
    click = np.zeros(RATE, np.float32)
    click[RATE - 3] = 0.5
    library = Library([Recording("click", "click", "click", 0)], [], lambda r: click, RATE)
    wave = library.wave(library.recording("click"))
    assert len(wave) == RATE // 100 and wave.max() == 0.5


def test_pickled_copies_carry_no_audio_and_read_the_same(layouts: dict[str, Path]) -> None:
    library = open_library(Folder(str(layouts["table"]), (), BACKGROUNDS), RATE)
    before = len(pickle.dumps(library))
    for recording in listed(library):
        library.loop(recording)
    assert len(pickle.dumps(library)) == before
    copy = pickle.loads(pickle.dumps(library))
    for recording in listed(library):
        assert np.array_equal(copy.wave(recording), library.wave(recording))


def test_opening_reads_no_audio(layouts: dict[str, Path]) -> None:
    for path in (layouts["table"] / "cat").iterdir():
        path.write_bytes(b"not audio")
    library = open_library(Folder(str(layouts["table"]), (), BACKGROUNDS), RATE)
    with pytest.raises(ValueError, match="2-500-A.wav cannot be read as audio"):
        library.wave(library.recordings("cat")[0])


@pytest.mark.parametrize("table", ["table/clips.csv", "official/meta/esc50.csv"])
def test_a_table_saved_by_a_spreadsheet_reads_the_same(
    layouts: dict[str, Path], table: str
) -> None:
    path = layouts["table"].parent / table
    folder = Folder(str(layouts[table.split("/")[0]]), (), BACKGROUNDS)
    plain = listed(open_library(folder, RATE))
    text = path.read_text()
    path.write_text(text, encoding="utf-8-sig", newline="\r\n")
    assert listed(open_library(folder, RATE)) == plain
    path.write_text(text + "é.wav,cat,1\n", encoding="latin-1")
    with pytest.raises(ValueError, match=rf"{path.name}, line 8: .* save the file as UTF-8"):
        open_library(folder, RATE)


def damage(kind: str, layouts: dict[str, Path]) -> Folder:
    table = layouts["table"]
    match kind:
        case "missing file":
            (table / "cat" / "2-500-A.wav").unlink()
        case "no column":
            (table / "clips.csv").write_text("path,category\n")
        case "no rows":
            (table / "clips.csv").write_text("file,category,fold\n")
        case "bad fold":
            with (table / "clips.csv").open("a") as file:
                file.write("cat/2-500-A.wav,cat,two\n")
        case "short row":
            with (table / "clips.csv").open("a") as file:
                file.write("cat/2-500-A.wav\n")
        case "no fold":
            with (table / "clips.csv").open("a") as file:
                file.write("cat/2-500-A.wav,cat\n")
        case "empty cell":
            with (table / "clips.csv").open("a") as file:
                file.write(",cat,2\n")
        case "unknown fold":
            return Folder(str(table), (1, 7), BACKGROUNDS)
        case "unknown background":
            return Folder(str(table), (), ("wind",))
        case "no folder":
            return Folder(str(table / "nowhere"), (), BACKGROUNDS)
        case "one name twice":
            with (table / "clips.csv").open("a") as file:
                file.write("cat/2-500-A.wav,cat,2\n")
        case "empty folder":
            shutil.rmtree(table)
            table.mkdir()
    return Folder(str(table), (), BACKGROUNDS)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("missing file", r"clips.csv, line 7: .*2-500-A.wav does not exist"),
        ("no column", r"clips.csv has no column 'file'; it has path, category"),
        ("no rows", "no clips under"),
        ("bad fold", r"clips.csv, line 8: fold 'two' is not a number"),
        ("short row", r"clips.csv, line 8: the column 'category' is missing; fill it in"),
        ("no fold", r"clips.csv, line 8: the column 'fold' is missing"),
        ("empty cell", r"clips.csv, line 8: the column 'file' is empty"),
        ("unknown fold", "has no fold 7; it has 1, 2"),
        ("unknown background", "no clips of the background 'wind'; .* cat, dog_bark, rain"),
        ("no folder", "no folder of recordings at .*nowhere"),
        ("one name twice", "2-500-A.wav and .* are both called cat/2-500-A; rename"),
        ("empty folder", "no clips under .* one folder per class"),
    ],
)
def test_unusable_folders_are_refused_with_the_place(
    layouts: dict[str, Path], kind: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        open_library(damage(kind, layouts), RATE)


@pytest.mark.parametrize(
    ("category", "label"),
    [
        ("001 - Dog bark", "dog_bark"),
        ("Sea Waves", "sea_waves"),
        ("crackling_fire", "fire_crackling"),
        ("sneezing", "person_sneeze"),
        ("door_wood_knock", "door_wood_knock"),
    ],
)
def test_categories_are_labels_in_one_spelling(category: str, label: str) -> None:
    assert label_of(category) == label


def recordings_of(counts: Sequence[int]) -> list[Recording]:
    return [
        Recording(f"class_{c}", f"class_{c}/{i}-{take}", f"{c}-{i}", 0)
        for c, count in enumerate(counts)
        for i in range(count)
        for take in "AB"
    ]


def test_a_quarter_of_the_originals_of_every_class_is_set_aside() -> None:
    aside = validation_originals(recordings_of([24, 10, 3]))
    for c, wanted in enumerate((6, 2, 1)):
        assert sum(name.startswith(f"{c}-") for name in aside) == wanted
    assert aside == validation_originals(recordings_of([24, 10, 3])[::-1])


def test_an_original_heard_in_two_classes_is_on_one_side() -> None:
    shared = [
        *recordings_of([8, 8]),
        *(Recording("other", f"o/{i}", f"0-{i}", 0) for i in range(8)),
    ]
    aside = validation_originals(shared)
    assert len({name for name in aside if name.startswith("0-")}) == 2
    assert len({name for name in aside if name.startswith("1-")}) == 2


def test_procedural_recordings_differ_between_splits_and_are_their_own_originals() -> None:
    train = open_library(Procedural("train", 2), RATE)
    heldout = open_library(Procedural("heldout", 2), RATE)
    assert train.labels == heldout.labels and len(train.labels) == 8
    assert not {r.original for r in listed(train)} & {r.original for r in listed(heldout)}
    assert len({r.original for r in listed(train)}) == 16


def test_no_original_of_esc10_is_in_two_of_training_validation_and_test(
    data_directory: Path,
) -> None:
    path = str(data_directory / "esc10")
    parts = {
        "train": Folder(path, (1, 2, 3), holdout="train"),
        "validation": Folder(path, (1, 2, 3), holdout="validation"),
        "test": Folder(path, (4,)),
    }
    originals = {
        # the fold is part of an original's name: compare the number of the source alone
        name: {r.original.split("-")[1] for r in listed(open_library(config, RATE))}
        for name, config in parts.items()
    }
    for one in originals:
        for other in originals:
            assert one == other or not originals[one] & originals[other]
    counted = {name: len(listed(open_library(c, RATE))) for name, c in parts.items()}
    assert sum(counted.values()) == 318 and counted["test"] == 80
    assert 0.2 < counted["validation"] / 238 < 0.3
    for config in parts.values():
        library = open_library(config, RATE)
        assert len(library.labels) == 10 and library.backgrounds == ("rain", "sea_waves")


def test_esc10_is_found_through_the_data_folder(
    data_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADIFF_DATA", os.fspath(data_directory))
    assert len(listed(open_library(Folder(), RATE))) == 318
