"""Examples as files: nothing is lost, nothing is written twice, an interrupted run goes on."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adiff_jax.audio.io import read_audio
from adiff_jax.data.builders.audiodiffcaps import AudioDiffCapsSource
from adiff_jax.data.export import wave_hash, write_pairs
from adiff_jax.data.schema import Edit, Example
from adiff_jax.data.sources import LabelledMixes, NaturalPairs, SynthPairs, open_source
from adiff_jax.data.synth.captions import read_edits
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from tests.data.test_builders import ListSource

RATE = 8_000
MADE = Procedural(recordings_per_class=2)
PAIRS = SynthPairs(MADE, Recipe(two_edits=0.5), size=6, rate=RATE)


def journal(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]


def table(out: Path) -> list[dict[str, str]]:
    with (out / "pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def samples(example: Example) -> list[str]:
    return [wave_hash(wave) for wave in example.waves]


@pytest.mark.parametrize("fmt", ["flac", "wav"])
def test_files_hold_what_the_source_says(tmp_path: Path, fmt: str) -> None:
    source = open_source(PAIRS)
    write_pairs(source, str(tmp_path), fmt)
    for index, (row, entry) in enumerate(zip(table(tmp_path), journal(tmp_path), strict=True)):
        example = source[index]
        assert row["key"] == entry["id"] == example.id
        assert [row[f"caption_{i}"] for i in range(1, 6)] == list(example.captions)
        assert tuple(Edit(*edit) for edit in entry["edits"]) == example.edits
        assert tuple(entry["recordings"]) == example.recordings
        assert read_edits(row["caption_3"]) == set(example.edits)
        for column, wave in zip(("s1_fn", "s2_fn"), example.waves, strict=True):
            assert row[column].endswith(fmt)
            read = read_audio(tmp_path / "audio" / row[column], RATE)
            assert np.abs(read - wave).max() <= 2**-15
            assert wave_hash(read) == wave_hash(wave)


def test_the_table_is_read_by_the_reader_of_audiodiffcaps(tmp_path: Path) -> None:
    source = open_source(PAIRS)
    write_pairs(source, str(tmp_path))
    read = AudioDiffCapsSource(tmp_path / "pairs.csv", tmp_path / "audio", RATE)
    assert len(read) == len(source)
    for index in range(len(source)):
        assert (read[index].id, read[index].captions) == (source[index].id, source[index].captions)
        assert samples(read[index]) == samples(source[index])


def test_a_clip_in_many_pairs_is_written_once(tmp_path: Path) -> None:
    source = open_source(NaturalPairs(MADE, size=40, rate=RATE))
    write_pairs(source, str(tmp_path))
    heard = {digest for index in range(40) for digest in samples(source[index])}
    assert len(heard) < 40
    assert len(list((tmp_path / "audio").iterdir())) == len(heard)
    for index, entry in enumerate(journal(tmp_path)):
        assert [clip["sha256"] for clip in entry["clips"]] == samples(source[index])


def test_ids_that_make_one_file_name_keep_their_own_clips(tmp_path: Path) -> None:
    first, second = (open_source(PAIRS)[index] for index in (1, 2))
    examples = [replace(first, id="a/b"), replace(second, id="a_b"), replace(first, id="a b")]
    write_pairs(ListSource(examples), str(tmp_path))
    rows = table(tmp_path)
    assert rows[0]["s1_fn"] == rows[2]["s1_fn"] == "a_b-1.flac"
    for row, example in zip(rows, examples, strict=True):
        for column, wave in zip(("s1_fn", "s2_fn"), example.waves, strict=True):
            assert wave_hash(read_audio(tmp_path / "audio" / row[column], RATE)) == wave_hash(wave)


def test_single_clips_are_written_with_their_labels(tmp_path: Path) -> None:
    source = open_source(LabelledMixes(MADE, size=3, rate=RATE))
    write_pairs(source, str(tmp_path))
    assert [tuple(entry["labels"]) for entry in journal(tmp_path)] == [
        source[index].labels for index in range(3)
    ]
    assert all(row["s2_fn"] == "" and row["s1_fn"] for row in table(tmp_path))


class Interrupted(Exception):
    pass


def stop_after(count: int):
    def progress(indices: Iterable[int]) -> Iterator[int]:
        for done, index in enumerate(indices):
            if done == count:
                raise Interrupted
            yield index

    return progress


def test_an_interrupted_run_goes_on_and_ends_with_the_same_files(tmp_path: Path) -> None:
    source = open_source(PAIRS)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_pairs(source, str(whole))
    with pytest.raises(Interrupted):
        write_pairs(source, str(parts), progress=stop_after(3))
    with (parts / "pairs.jsonl").open("a") as file:
        file.write('{"id": "half a li')
    redone: list[int] = []

    def noting(indices: Iterable[int]) -> Iterator[int]:
        for index in indices:
            redone.append(index)
            yield index

    write_pairs(source, str(parts), progress=noting)
    assert redone == [3, 4, 5]
    for path in sorted(whole.rglob("*")):
        if path.is_file():
            assert (parts / path.relative_to(whole)).read_bytes() == path.read_bytes()


def test_a_clip_that_was_lost_is_made_again(tmp_path: Path) -> None:
    source = open_source(PAIRS)
    write_pairs(source, str(tmp_path))
    lost = tmp_path / "audio" / journal(tmp_path)[2]["clips"][1]["file"]
    kept = lost.read_bytes()
    lost.unlink()
    write_pairs(source, str(tmp_path))
    assert lost.read_bytes() == kept


@pytest.mark.parametrize(
    "other",
    [replace(PAIRS, seed=1), replace(PAIRS, split="test"), replace(PAIRS, size=4)],
    ids=["seed", "split", "size"],
)
def test_a_folder_of_another_source_is_refused(tmp_path: Path, other: SynthPairs) -> None:
    write_pairs(open_source(PAIRS), str(tmp_path))
    with pytest.raises(ValueError, match="choose another folder or empty this one"):
        write_pairs(open_source(other), str(tmp_path))


def test_another_format_in_one_folder_is_refused(tmp_path: Path) -> None:
    write_pairs(open_source(PAIRS), str(tmp_path), "wav")
    with pytest.raises(ValueError, match="or another format"):
        write_pairs(open_source(PAIRS), str(tmp_path), "flac")
