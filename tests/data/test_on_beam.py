"""Tables built on Apache Beam: rows that any process makes alike; what is said without Beam; and,
in an environment of its own, the same tables as without it, from every command that has it."""

import csv
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import tensorflow_datasets as tfds

from adiff_jax import cli
from adiff_jax.data.builders.audiodiffcaps import AudioDiffCapsSource
from adiff_jax.data.builders.on_beam import BeamRunner
from adiff_jax.data.builders.table_rows import Work, clip_row
from adiff_jax.data.builders.tables import build_tables
from tests.data.toy_source import ToySource

REPOSITORY = Path(__file__).parents[2]
RATE = 44_100  # of AudioDiffCaps, whose command has no --rate
CLIPS = [f"clip_{number}" for number in range(9)]
PAIRS = [(3, 1), (3, 0), (2, 2), (8, 1), (4, 7)]
FIVE = [f"caption_{number}" for number in range(1, 6)]
KINDS = ("clotho", "audiocaps", "audiodiffcaps", "explanations")

Row = dict[str, Any]


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Nine clips, of which the last two sound alike."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for number, name in enumerate(CLIPS):
        noise = np.random.default_rng(min(number, 7)).uniform(-0.9, 0.9, 800)
        sf.write(folder / f"{name}.wav", noise, RATE)
    return folder


def write_csv(path: Path, columns: list[str], rows: list[list[str]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(path)


def command(kind: str, audio: Path) -> list[str]:
    """The arguments of `adiff data`, but for --out, which build tables of the clips in `audio`.

    Those of Clotho and AudioCaps have two splits, which share the sound of a clip.
    """
    folder = audio.parent
    match kind:
        case "clotho":
            columns = ["file_name", *FIVE]
            rows = [[f"{name}.wav", *(f"{name}, {text}" for text in FIVE)] for name in CLIPS]
        case "audiocaps":
            columns = ["audiocap_id", "youtube_id", "start_time", "caption"]
            rows = [[str(number), name, "30", "é, 狗"] for number, name in enumerate(CLIPS)]
        case "audiodiffcaps":
            columns = ["key", "s1_fn", "s2_fn", *FIVE]
            files = [(f"{CLIPS[one]}.wav", f"{CLIPS[two]}.wav") for one, two in PAIRS]
            rows = [[str(n), *pair, "louder", "", "", "", ""] for n, pair in enumerate(files)]
        case "explanations":
            columns = ["taskname", "filepath1", "filepath2", "caption1", "caption2", "input"]
            columns.append("answer")
            asked = "explain the difference in few words"
            paths = [f"val/{name}.wav" for name in CLIPS]
            rows = [
                ["audiocaps", paths[one], paths[two], "a", "b", asked, "louder"]
                for one, two in PAIRS
            ]
    arguments = ["data", kind, "--audio", str(audio)]
    if kind != "audiodiffcaps":
        arguments += ["--rate", str(RATE)]
    if kind in ("clotho", "audiocaps"):
        arguments += ["--test", write_csv(folder / "test.csv", columns, [rows.pop()])]
    return [*arguments, "--train", write_csv(folder / "train.csv", columns, rows)]


def rows_of(tables: Path) -> dict[str, list[Row]]:
    """Every row of both tables as it is stored, by table and split."""
    found = {}
    for name in ("clips", "pairs"):
        builder = tfds.builder_from_directory(tables / name / "1.0.0")
        for split in builder.info.splits:
            rows = builder.as_data_source(split)
            found[f"{name} {split}"] = [
                {column: np.asarray(cell, object).tolist() for column, cell in row.items()}
                for row in rows
            ]
    return found


# --- without Beam -------------------------------------------------------------------------------


def test_the_rows_of_clips_depend_on_their_source_and_place_alone(
    audio: Path, tmp_path: Path
) -> None:
    arguments = command("audiodiffcaps", audio)
    source = AudioDiffCapsSource(arguments[-1], audio, RATE)
    places = Work(source).places
    assert places == [(0, 0), (0, 1), (1, 1), (2, 0), (3, 0), (4, 0), (4, 1)]  # each clip once
    build_tables({"train": source}, tmp_path / "tables", progress=False)
    stored = rows_of(tmp_path / "tables")["clips train"]
    elsewhere = pickle.loads(pickle.dumps(source))
    for place, row in reversed(list(zip(places, stored, strict=True))):
        made = clip_row(elsewhere, place)
        assert made["flac"] == row["flac"] and made["sha256"].encode() == row["sha256"]
        assert made["name"].encode() == row["name"] and made["rate"] == row["rate"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_beam_it_is_said_how_to_get_it_and_nothing_is_read(
    kind: str,
    audio: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setattr(sf, "SoundFile", None)
    with pytest.raises(SystemExit) as caught:
        out = tmp_path / "tables"
        cli.main([*command(kind, audio), "--out", str(out), "--beam-runner", "DirectRunner"])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and "`make beam`" in said and "environment of its own" in said
    assert not list(tmp_path.rglob("*.array_record*"))


def test_options_without_a_runner_are_refused(
    audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([*command("clotho", audio), "--out", "out", "--beam-option", "parallelism=4"])
    assert "--beam-option parallelism=4: say with --beam-runner" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--parallelism=4", "-p", "runner=FlinkRunner"])
def test_options_are_written_without_dashes_and_name_no_runner(option: str) -> None:
    with pytest.raises(ValueError, match=f"the Beam option '{option}'"):
        BeamRunner("DirectRunner", (option,))


def test_a_source_that_must_be_read_in_order_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ToySource must read its clips in order"):
        build_tables({"train": ToySource(3)}, tmp_path / "out", by=BeamRunner("DirectRunner"))
    assert not (tmp_path / "out").exists()


# --- with Beam, in an environment of its own ----------------------------------------------------

TWO_PROCESSES = ("direct_num_workers=2", "direct_running_mode=multi_processing")


@pytest.fixture(scope="session")
def beam_python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of the environment that `make beam` makes, kept in the cache of pytest."""
    folder = request.config.cache.mkdir("beam") / "environment"
    arguments = [f"BEAM={folder}", f"PYTHON={sys.executable}"]
    subprocess.run(["make", "beam", *arguments], cwd=REPOSITORY, check=True, timeout=900)
    return folder / "bin" / "python"


def run_on_beam(
    python: Path, arguments: list[str], out: Path, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """`adiff` with Beam, in a process that says on stderr whether it has imported tensorflow."""
    code = (
        "import sys; from adiff_jax.cli import main\n"
        "try: main()\n"
        "finally: print('tensorflow:', 'tensorflow' in sys.modules, file=sys.stderr)"
    )
    told = [part for option in options for part in ("--beam-option", option)]
    return subprocess.run(
        [str(python), "-c", code, *arguments]
        + ["--out", str(out), "--beam-runner", "DirectRunner", *told],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"), [*((kind, ()) for kind in KINDS), ("clotho", TWO_PROCESSES)]
)
def test_tables_built_on_beam_are_those_built_without(
    kind: str,
    options: tuple[str, ...],
    beam_python: Path,
    audio: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = command(kind, audio)
    cli.main([*arguments, "--out", str(tmp_path / "plain")])
    report = capsys.readouterr().out.replace("plain", "beam")
    done = run_on_beam(beam_python, arguments, tmp_path / "beam", options)
    assert done.returncode == 0, done.stderr
    assert "tensorflow: False" in done.stderr
    assert done.stdout == report  # with the clips that two splits share
    assert ("SHA-256" in report) == (kind in ("clotho", "audiocaps"))
    assert rows_of(tmp_path / "beam") == rows_of(tmp_path / "plain")
    assert {path.name for path in (tmp_path / "beam").iterdir()} == {"clips", "pairs"}


@pytest.mark.slow
def test_clips_that_workers_cannot_use_are_all_listed(
    beam_python: Path, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (audio / "clip_5.wav").unlink()
    (audio / "clip_2.wav").write_bytes(b"RIFF")
    arguments = command("clotho", audio)
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    said = said[said.index("adiff data: ") :]  # after the bar
    listed = (tmp_path / "out" / "missing.txt").read_text()
    (tmp_path / "out" / "missing.txt").unlink()
    done = run_on_beam(beam_python, arguments, tmp_path / "out")
    assert done.returncode == 2
    assert "2 clips cannot be had" in said and said in done.stderr
    assert (tmp_path / "out" / "missing.txt").read_text() == listed == "clip_2.wav\nclip_5.wav\n"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), TWO_PROCESSES])
def test_a_clip_that_breaks_a_worker_is_named_in_one_sentence(
    options: tuple[str, ...], beam_python: Path, audio: Path, tmp_path: Path
) -> None:
    (audio / "clip_3.wav").write_bytes(b"")
    arguments = command("audiodiffcaps", audio)
    done = run_on_beam(beam_python, arguments, tmp_path / "out", options)
    assert done.returncode == 2
    sentence = [line for line in done.stderr.splitlines() if line.startswith("adiff data: ")]
    assert len(sentence) == 1 and "clip_3.wav is empty" in sentence[0]
    assert not (tmp_path / "out" / "clips" / "1.0.0").exists()
