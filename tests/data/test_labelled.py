"""Labelled clips: the tables of AudioSet, FSD50K and anyone, and what is missing of them."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from adiff_jax import cli
from adiff_jax.data.labelled import LabelledClips, missing_names
from adiff_jax.data.schema import Coverage, Labelled
from adiff_jax.data.sources import open_source
from adiff_jax.parts import assemble
from tests.top.tiny_run import CLASSES, tagger

RATE = 8_000
AUDIOSET = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=4, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
-0RWZT-miFs, 0.000, 10.000, "/m/012f08"
Yabcdefghij, 20.000, 30.000, "/m/09x0r,/m/04rlf"
"""
FSD50K = """fname,labels,mids,split
64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train
16399,"Music","/m/04rlf",val
16401,"Bark;Dog","/m/05tny_,/m/0bt9lr",train
"""
MINE = 'file,labels\nrain/1.wav,rain\nboth.wav,"dog bark, rain"\n'
ESC = "filename,fold,target,category\n1-100-A-0.wav,1,0,dog\n2-7-B-1.wav,2,1,rooster\n"


def write(folder: Path, table: str, files: Sequence[str]) -> LabelledClips:
    (folder / "table.csv").write_text(table)
    (folder / "audio").mkdir()
    for seed, name in enumerate(files):
        path = folder / "audio" / name
        path.parent.mkdir(exist_ok=True)
        sf.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 400), RATE)
    return LabelledClips(str(folder / "table.csv"), str(folder / "audio"), rate=RATE)


def test_segments_of_audioset_are_read_whatever_the_clips_are_called(tmp_path: Path) -> None:
    files = ("--PJHxphWEs.wav", "Y-0RWZT-miFs.flac", "YYabcdefghij.ogg")
    source = open_source(write(tmp_path, AUDIOSET, files))
    assert isinstance(source, Labelled)
    assert source.classes == ("/m/012f08", "/m/04rlf", "/m/09x0r", "/t/dd00088")
    assert [source[i].id for i in range(3)] == ["--PJHxphWEs", "-0RWZT-miFs", "Yabcdefghij"]
    assert source[0].labels == ("/m/09x0r", "/t/dd00088")
    assert source[1].waves[0].shape == (400,) and len(source[1].waves) == 1
    assert source.truth(2).recordings == ("Yabcdefghij",)
    assert source.coverage == Coverage(3, 3, 3, 3)


def test_classes_of_audioset_are_called_by_their_names(tmp_path: Path) -> None:
    config = write(tmp_path, AUDIOSET, ("Y--PJHxphWEs.wav", "Y-0RWZT-miFs.wav", "YYabcdefghij.wav"))
    names = tmp_path / "class_labels_indices.csv"
    mids = ("/m/012f08", "/m/04rlf", "/m/09x0r", "/t/dd00088")
    said = ("Motor vehicle (road)", "Music", "Speech", '"Gush, flow"')
    rows = [f"{i},{mid},{name}" for i, (mid, name) in enumerate(zip(mids, said, strict=True))]
    names.write_text("\n".join(["index,mid,display_name", *rows]))
    source = open_source(replace(config, names=str(names)))
    assert isinstance(source, Labelled)
    assert source.classes == ("Gush, flow", "Motor vehicle (road)", "Music", "Speech")
    assert source[0].labels == ("Speech", "Gush, flow")
    names.write_text("\n".join(["index,mid,display_name", *rows[1:]]))
    with pytest.raises(ValueError, match="line 5: .* has no name of /m/012f08"):
        open_source(replace(config, names=str(names)))
    names.write_text("/m/04rlf,Music")
    with pytest.raises(ValueError, match="has not both columns, mid and display_name"):
        open_source(replace(config, names=str(names)))


def test_ground_truth_of_fsd50k_is_read_by_split(tmp_path: Path) -> None:
    config = write(tmp_path, FSD50K, ("64760.wav", "16399.wav", "16401.wav"))
    source = open_source(config)
    assert len(source) == 3
    assert source.classes == ("Bark", "Dog", "Electric_guitar", "Guitar", "Music")
    training = open_source(replace(config, split=("train",)))
    assert [training[i].id for i in range(len(training))] == ["64760", "16401"]
    with pytest.raises(ValueError, match="lists no clips of split test"):
        open_source(replace(config, split=("test",)))


def test_any_table_of_files_and_labels_is_read(tmp_path: Path) -> None:
    source = open_source(write(tmp_path, MINE, ("rain/1.wav", "both.mp3.wav", "both.flac")))
    assert source[1].labels == ("dog bark", "rain") and source.classes == ("dog bark", "rain")
    assert source[0].id == "rain/1.wav"


def test_esc_is_read_by_fold_and_by_original_recording(tmp_path: Path) -> None:
    config = write(tmp_path, ESC, ("1-100-A-0.wav", "2-7-B-1.wav"))
    source = open_source(replace(config, split=("2",)))
    assert [source[i].labels for i in range(len(source))] == [("rooster",)]
    assert source.truth(0).recordings == ("2-7",)


def test_the_real_recordings_are_read_as_they_lie(data_directory: Path) -> None:
    source = open_source(LabelledClips("esc10/clips.csv", "esc10", split=("1", "2")))
    assert len(source.classes) == 10 and len(source) > 100
    assert source[0].labels == ("dog_bark",) and source[0].rate == 32_000


def test_classes_may_be_in_an_order_of_ones_own_and_must_hold_every_label(tmp_path: Path) -> None:
    config = write(tmp_path, MINE, ("rain/1.wav", "both.wav"))
    mine = ("rain", "wind", "dog bark")
    assert open_source(replace(config, classes=mine)).classes == mine
    with pytest.raises(ValueError, match="table.csv line 3: the label 'dog bark' is not among"):
        open_source(replace(config, classes=("rain",)))


def test_clips_that_are_not_there_are_listed_unless_excluded(tmp_path: Path) -> None:
    config = write(tmp_path, AUDIOSET, ("--PJHxphWEs.wav",))
    with pytest.raises(FileNotFoundError) as caught:
        open_source(config)
    said = str(caught.value)
    assert "table.csv: 2 clips cannot be had from" in said and "-0RWZT-miFs: there is no" in said
    assert "there would be 1 of 3 clips, 1 of 3 rows (33.3%)" in said
    assert missing_names(config) == ("-0RWZT-miFs", "Yabcdefghij")
    (tmp_path / "list").write_text("-0RWZT-miFs\nYYabcdefghij.wav\n")
    source = open_source(replace(config, exclude=str(tmp_path / "list")))
    assert len(source) == 1 and source.coverage == Coverage(1, 3, 1, 3)
    assert len(source.classes) == 4  # what is missing changes no target
    copy = pickle.loads(pickle.dumps(source))
    assert copy[0].labels == source[0].labels
    (tmp_path / "list").write_text("-0RWZT-miFs\nYabcdefghij\n--PJHxphWEs\n")
    with pytest.raises(ValueError, match="leaves none of its clips"):
        open_source(replace(config, exclude=str(tmp_path / "list")))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("name,labels\na,b\n", "has no column fname or file or filename; it has name, labels"),
        ("file,mids\na,b\n", "has no column labels or category; it has file, mids"),
        ("file,labels\na,b\nc,\n", "line 3 has no label"),
        ("file,labels\n,b\n", "line 2 has no file"),
        ("file,labels\na,b\nc,d\na,e\n", "line 4 names a again, after line 2"),
        ("file,labels\n", "lists no clips"),
        (AUDIOSET + "x, 1.0, 2.0\n", "line 7 has 3 cells"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_the_line(
    tmp_path: Path, table: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        open_source(write(tmp_path, table, ()))


def test_a_split_that_a_table_cannot_tell_is_refused(tmp_path: Path) -> None:
    config = write(tmp_path, AUDIOSET, ())
    with pytest.raises(ValueError, match="is a table of AudioSet, which has no splits"):
        open_source(replace(config, split=("train",)))
    (tmp_path / "table.csv").write_text(MINE)
    with pytest.raises(ValueError, match="has no column split or fold"):
        open_source(replace(config, split=("train",)))


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no table of labelled clips at .*nowhere.csv"):
        open_source(LabelledClips("nowhere.csv", str(tmp_path)))


CONFIG = """
from dataclasses import replace
from adiff_jax.data.labelled import LabelledClips
from tests.top.tiny_run import tagger


def get_config():
    base = tagger()
    clips = LabelledClips({table!r}, {audio!r})
    return replace(base, data=replace(base.data, train=clips, test=()))
"""


def test_a_tagger_takes_the_classes_of_labelled_clips(tmp_path: Path) -> None:
    rows = [f"{number}.wav,class {number}" for number in range(CLASSES)]
    clips = write(tmp_path, "\n".join(["file,labels", *rows]), [f"{n}.wav" for n in range(CLASSES)])
    experiment = tagger()
    experiment = replace(experiment, data=replace(experiment.data, train=clips))
    assert assemble(experiment, open_source(clips), None).classes == tuple(
        f"class {number}" for number in range(CLASSES)
    )


def test_the_command_writes_the_list_that_exclude_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = write(tmp_path, AUDIOSET, ("--PJHxphWEs.wav",))
    config = tmp_path / "config.py"
    config.write_text(CONFIG.format(table=clips.table, audio=clips.audio))
    cli.main(["data", "missing", str(config), "--out", str(tmp_path / "list")])
    assert "2 clips of 1 tables are not there" in capsys.readouterr().out
    assert len(open_source(replace(clips, exclude=str(tmp_path / "list")))) == 1
