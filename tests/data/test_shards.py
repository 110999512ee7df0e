"""Tables built in shards: those that one command builds, whoever makes the shards and in which
order; what is there is not made again; what does not belong together is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from adiff_jax import cli
from adiff_jax.audio.io import AudioError
from adiff_jax.data.builders.audiodiffcaps import AudioDiffCapsSource
from adiff_jax.data.builders.shards import Shard, ShardReport, UnusableClips
from adiff_jax.data.builders.table_rows import TableReport
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.order import shard_range
from adiff_jax.data.schema import Source
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.experiment_json import source_json
from tests.data.test_builders import PAIRS as EXAMPLES
from tests.data.test_builders import ListSource
from tests.data.test_on_beam import CLIPS, KINDS, RATE, audio, command, rows_of
from tests.data.toy_source import LoggingSource
from tests.gcs.fake_server import Storage

__all__ = ["audio"]  # a fixture

RECIPE = Recipe(duration=1.0, event_seconds=(0.3, 0.6))
SYNTH = SynthPairs(Procedural(recordings_per_class=2), RECIPE, size=5, rate=8_000)
MADE_OF = {"train": "toys"}


def synthetic(**changes: object) -> tuple[dict[str, Source], dict[str, str]]:
    """Two splits, and what they are made of."""
    configs = {"train": replace(SYNTH, **changes), "test": replace(SYNTH, split="test", size=2)}
    made_of = {split: source_json(config) for split, config in configs.items()}
    return {split: open_source(config) for split, config in configs.items()}, made_of


def make(out: Path, shard: str, **changes: object) -> TableReport | ShardReport:
    """Make the shard "i/N" of synthetic pairs, or join for ""."""
    sources, made_of = synthetic(**changes)
    by = Shard(*map(int, shard.split("/"))) if shard else None
    return build_tables(sources, out, False, by, made_of)


# --- the same tables ----------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 3])
def test_synthetic_pairs_in_shards_are_those_of_one_command(parts: int, tmp_path: Path) -> None:
    alone = make(tmp_path / "alone", "")
    for part in reversed(range(parts)):
        make(tmp_path / "shared", f"{part}/{parts}")
    assert make(tmp_path / "shared", "") == alone
    assert rows_of(tmp_path / "shared") == rows_of(tmp_path / "alone")
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {"clips", "pairs"}


@pytest.mark.parametrize("parts", [2, 9])
def test_clips_that_examples_share_are_told_apart_across_shards(parts: int, tmp_path: Path) -> None:
    unnamed = [replace(example, id=f"{example.id}-again", clips=()) for example in EXAMPLES]
    sources = {"train": ListSource([*EXAMPLES, *unnamed, *unnamed])}
    alone = build_tables(sources, tmp_path / "alone", progress=False)
    assert isinstance(alone, TableReport)
    examples = sources["train"].examples
    assert alone.clips["train"] < sum(len(example.waves) for example in examples)
    for part in range(parts):
        build_tables(sources, tmp_path / "shared", False, Shard(part, parts), {"train": "examples"})
    joined = build_tables(sources, tmp_path / "shared", False, made_of={"train": "examples"})
    assert joined == alone and rows_of(tmp_path / "shared") == rows_of(tmp_path / "alone")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [1, 3])
def test_commands_that_share_the_clips_build_what_one_does(
    kind: str, parts: int, audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*command(kind, audio), "--out"]
    cli.main([*arguments, str(tmp_path / "alone")])
    alone = capsys.readouterr().out
    for part in range(parts):
        cli.main([*arguments, str(tmp_path / "shared"), "--shard", f"{part}/{parts}"])
    assert "the same command without --shard joins them" in capsys.readouterr().out
    for file in audio.iterdir():
        file.write_bytes(b"")  # the clips are not read again
    cli.main([*arguments, str(tmp_path / "shared")])
    assert capsys.readouterr().out.replace("shared", "alone") == alone
    assert rows_of(tmp_path / "shared") == rows_of(tmp_path / "alone")


def test_a_config_is_built_in_shards_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(Path(cli.__file__).parent / "demo.py")
    arguments = ["data", "build", config, "--size", "3", "--out"]
    cli.main([*arguments, str(tmp_path / "alone")])
    for shard in ("0/2", "1/2"):
        cli.main([*arguments, str(tmp_path / "shared"), "--shard", shard])
    with pytest.raises(SystemExit):
        cli.main([*arguments[:3], "--size", "4", "--out", str(tmp_path / "shared")])
    assert "holds shards of other data, as split 'train' tells" in capsys.readouterr().err
    cli.main([*arguments, str(tmp_path / "shared")])
    assert rows_of(tmp_path / "shared") == rows_of(tmp_path / "alone")


def test_shards_in_a_bucket_are_joined_there(storage: Storage, tmp_path: Path) -> None:
    sources, made_of = synthetic(size=3)
    alone = build_tables(sources, tmp_path / "alone", progress=False)
    out = "gs://bucket/tables/shared"
    for part in range(2):
        build_tables(sources, out, False, Shard(part, 2), made_of)
    assert build_tables(sources, out, False, made_of=made_of) == alone
    names = [name for name in storage.names("bucket") if name.startswith("tables/shared/")]
    assert names and not [name for name in names if "/shards/" in name]
    for name in names:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(storage.buckets["bucket"][name].content)
    assert rows_of(tmp_path / "tables" / "shared") == rows_of(tmp_path / "alone")


# --- what is there, and what is not -------------------------------------------------------------


def test_a_shard_reads_its_own_examples_once_and_a_join_reads_none(tmp_path: Path) -> None:
    source = LoggingSource(10, tmp_path / "log")
    for part, made, missing in ((1, True, 2), (0, True, 1), (1, False, 1), (2, True, 0)):
        before = source.reads
        report = build_tables({"train": source}, tmp_path / "out", False, Shard(part, 3), MADE_OF)
        own = len(shard_range(part, 3, 10))
        assert isinstance(report, ShardReport)
        assert (report.held, report.made, report.missing) == (
            {"train": f"{own} pairs"},
            made,
            missing,
        )
        assert source.reads - before == (own if made else 0)
    assert source.reads == 10
    build_tables({"train": source}, tmp_path / "out", False, made_of=MADE_OF)
    assert source.reads == 10


class Killed(BaseException):
    """Ends a process wherever it is."""


class Interrupted(LoggingSource):
    """Ends whoever reads the third example."""

    def read(self, index: int) -> None:
        if self.reads == 2:
            raise Killed
        super().read(index)


def test_a_shard_that_was_interrupted_is_not_there_and_the_others_are(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_tables({"train": LoggingSource(8, tmp_path / "a")}, out, False, Shard(0, 2), MADE_OF)
    with pytest.raises(Killed):
        source = Interrupted(8, tmp_path / "b")
        build_tables({"train": source}, out, False, Shard(1, 2), MADE_OF)
    assert sorted(file.name for file in (out / "shards").iterdir()) == [
        "00000-of-00002.zip",
        "about.json",
    ]
    with pytest.raises(ValueError, match=r"lacks the shards 1/2: make them with --shard"):
        build_tables({"train": LoggingSource(8, tmp_path / "c")}, out, False, made_of=MADE_OF)
    assert not (out / "clips").exists()


def test_missing_shards_are_named(tmp_path: Path) -> None:
    make(tmp_path, "3/20")
    with pytest.raises(ValueError, match=r"lacks the shards 0/20, 1/20, 2/20, 4/20, .* and 9 more"):
        make(tmp_path, "")


def test_a_shard_that_is_cut_off_is_named(tmp_path: Path) -> None:
    for shard in ("0/2", "1/2"):
        make(tmp_path, shard)
    file = tmp_path / "shards" / "00001-of-00002.zip"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="00001-of-00002.zip is broken .*: remove it, and make"):
        make(tmp_path, "")


def test_a_clip_whose_bytes_have_changed_is_not_joined(tmp_path: Path) -> None:
    make(tmp_path, "0/1")
    file = tmp_path / "shards" / "00000-of-00001.zip"
    content = bytearray(file.read_bytes())
    content[2000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="00000-of-00001.zip is broken"):
        make(tmp_path, "")


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shard", "changes", "complaint"),
    [
        ("1/3", {}, "holds shards of 2, not of 3: say --shard i/2, or remove it"),
        ("1/2", {"seed": 1}, "other data, as split 'train' tells: remove it, or name another"),
        ("", {"seed": 1}, "other data, as split 'train' tells: remove it, or name another"),
        ("1/2", {"size": 4}, "other data, as split 'train' tells"),
        ("1/2", {"recipe": replace(RECIPE, duration=1.5)}, "other data, as split 'train' tells"),
    ],
)
def test_shards_of_something_else_are_refused(
    shard: str, changes: dict, complaint: str, tmp_path: Path
) -> None:
    make(tmp_path, "0/2")
    with pytest.raises(ValueError, match=complaint):
        make(tmp_path, shard, **changes)
    assert len(list((tmp_path / "shards").iterdir())) == 2


def test_other_splits_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "0/2")
    sources, made_of = synthetic()
    del sources["test"]
    with pytest.raises(ValueError, match="of the splits train, test, not of train: say the same"):
        build_tables(sources, tmp_path, False, Shard(1, 2), made_of)


def test_clips_that_recur_are_known_by_what_is_said_of_them(audio: Path, tmp_path: Path) -> None:
    table = Path(command("audiodiffcaps", audio)[-1])
    moved = tmp_path / "elsewhere"
    shutil.copytree(audio, moved)
    out = tmp_path / "out"
    source = AudioDiffCapsSource(table, audio, RATE)
    build_tables({"train": source}, out, False, Shard(0, 2))
    build_tables({"train": AudioDiffCapsSource(table, moved, RATE)}, out, False, Shard(1, 2))
    with pytest.raises(ValueError, match="shards of other data, as split 'train' tells"):
        build_tables({"train": AudioDiffCapsSource(table, audio, 8_000)}, out, progress=False)
    table.write_text(table.read_text().replace("louder", "quieter"))
    with pytest.raises(ValueError, match="shards of other data, as split 'train' tells"):
        build_tables({"train": AudioDiffCapsSource(table, audio, RATE)}, out, progress=False)


def test_a_source_that_nothing_is_said_of_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="made_of does not say what split 'train' is made of"):
        build_tables({"train": ListSource(EXAMPLES)}, tmp_path, False, Shard(0, 2))
    assert not list(tmp_path.iterdir())


def test_tables_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    make(tmp_path, "0/1")
    make(tmp_path, "")
    with pytest.raises(FileExistsError, match="clips exists"):
        make(tmp_path, "0/1")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--shard", "2/2"], "--shard '2/2' must be i/N with 0 <= i < N"),
        (["--shard", "0/2", "--beam-runner", "DirectRunner"], "not allowed with argument --shard"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str],
    complaint: str,
    audio: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main([*command("clotho", audio), "--out", str(tmp_path / "out"), *arguments])
    assert complaint in capsys.readouterr().err


# --- clips that cannot be had -------------------------------------------------------------------


def test_every_shard_lists_the_clips_that_it_cannot_use_and_exclude_takes_all_lists(
    audio: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (audio / f"{CLIPS[0]}.wav").unlink()
    (audio / f"{CLIPS[7]}.wav").write_bytes(b"RIFF")
    out = tmp_path / "out"
    arguments = [*command("clotho", audio), "--out", str(out)]
    for part in range(2):
        with pytest.raises(SystemExit):
            cli.main([*arguments, "--shard", f"{part}/2"])
        said = capsys.readouterr().err
        assert "1 clips cannot be had" in said and "7 of 8 clips" in said
        assert f"`cat {out}/missing-*.txt`, list what --exclude then needs" in said
    lists = sorted(out.glob("missing-*.txt"))
    assert [file.read_text() for file in lists] == ["clip_0.wav\n", "clip_7.wav\n"]
    (tmp_path / "all.txt").write_text("".join(file.read_text() for file in lists))
    shutil.rmtree(out)
    for shard in (["--shard", "0/2"], ["--shard", "1/2"], []):
        cli.main([*arguments, *shard, "--exclude", str(tmp_path / "all.txt")])
    assert "6 of 8 clips" in capsys.readouterr().out


def test_broken_clips_of_a_shard_are_all_named_and_broken_examples_at_once(
    audio: Path, tmp_path: Path
) -> None:
    source = AudioDiffCapsSource(command("audiodiffcaps", audio)[-1], audio, RATE)
    for number in (1, 3):
        (audio / f"{CLIPS[number]}.wav").write_bytes(b"")
    with pytest.raises(UnusableClips, match=r"clip_3.wav is empty(.|\n)*clip_1.wav is empty"):
        build_tables({"train": source}, tmp_path / "a", False, Shard(0, 1))
    broken = replace(EXAMPLES[0], waves=(EXAMPLES[0].waves[0], EXAMPLES[0].waves[1] * 5))
    with pytest.raises(AudioError, match="b.wav of full"):
        sources = {"train": ListSource([broken])}
        build_tables(sources, tmp_path / "b", False, Shard(0, 1), MADE_OF)
    assert not list(tmp_path.rglob("*.zip"))
