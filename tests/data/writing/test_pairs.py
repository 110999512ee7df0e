"""Pairs of captioned clips: never a clip with itself, the same for the same seed, nothing lost."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adiff_jax.data.writing.pairs import Captioned, digest, draw_pairs, read_captions

CLOTHO = """file_name,caption_1,caption_2,caption_3,caption_4,caption_5
"Rain, far.wav",Rain falls,It rains,Drops fall,Water drips,"Rain, on a roof"
dog.wav,A dog barks,Barking,A hound,A dog is barking,Dogs
"""
AUDIOCAPS = """audiocap_id,youtube_id,start_time,caption
1,-0xzrMun0Rs,30,Birds tweet
2,-0xzrMun0Rs,30,Birds are singing
3,abc,0,A car passes
"""
GENERIC = """file,caption
a/b.ogg,A bell
c.ogg,A drum
a/b.ogg,A bell rings
"""


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "captions.csv"
    path.write_text(text, "utf-8")
    return path


def test_clotho_has_five_captions_a_clip(tmp_path: Path):
    clips = read_captions(table(tmp_path, CLOTHO), "ClothoV21/development/")
    assert [clip.file for clip in clips] == [
        "ClothoV21/development/Rain, far.wav",
        "ClothoV21/development/dog.wav",
    ]
    assert clips[0].captions[4] == "Rain, on a roof"
    assert {len(clip.captions) for clip in clips} == {5}


def test_audiocaps_has_a_row_a_caption_and_files_after_their_id(tmp_path: Path):
    clips = read_captions(table(tmp_path, AUDIOCAPS), "AudioCapsLarger/val")
    assert clips == (
        Captioned("AudioCapsLarger/val/Y-0xzrMun0Rs.wav", ("Birds tweet", "Birds are singing")),
        Captioned("AudioCapsLarger/val/Yabc.wav", ("A car passes",)),
    )


def test_any_table_may_have_several_rows_a_file(tmp_path: Path):
    clips = read_captions(table(tmp_path, GENERIC))
    assert clips == (
        Captioned("a/b.ogg", ("A bell", "A bell rings")),
        Captioned("c.ogg", ("A drum",)),
    )


def test_one_clip_under_two_spellings_is_one_clip_and_a_caption_counts_once(tmp_path: Path):
    text = "file,caption\na.wav,A bell\n./a.wav,A bell\nx/../a.wav,Ding\nb.wav,A drum\n"
    clips = read_captions(table(tmp_path, text))
    assert clips == (Captioned("a.wav", ("A bell", "Ding")), Captioned("b.wav", ("A drum",)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,caption\na.wav,A bell\na.wav,Ding\n", "has 1 clips; a pair needs two"),
        ("file,caption\n", "has 0 clips"),
        ("", r"has the columns \(none\)"),
        ("file,text\na.wav,A bell\n", "columns file, text: needed are one of file_name"),
        ("name,caption\na.wav,A bell\n", "columns name, caption: needed"),
        ("file,caption\n,A bell\n", "line 2 has no file"),
        ("file,caption\na.wav,A bell\nb.wav,  \n", r"line 3 \(b.wav\) has no caption"),
        ("youtube_id,start_time,caption\na,1,A bell\na,2,Ding\n", "a starts at 2 and, in a row"),
    ],
)
def test_a_table_that_cannot_be_paired_says_why(tmp_path: Path, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_captions(table(tmp_path, text))


def test_a_table_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="absent.csv: no such CSV file"):
        read_captions(tmp_path / "absent.csv")


def clips_of(counts: list[int]) -> tuple[Captioned, ...]:
    return tuple(
        Captioned(f"{clip}.wav", tuple(f"caption {clip}-{number}" for number in range(count)))
        for clip, count in enumerate(counts)
    )


@given(st.lists(st.integers(1, 5), min_size=2, max_size=8), st.integers(0, 2**31))
def test_every_caption_is_first_once_and_no_clip_meets_itself(counts: list[int], seed: int):
    clips = clips_of(counts)
    captions = {clip.file: clip.captions for clip in clips}
    pairs = draw_pairs(clips, seed)
    firsts = [(pair.files[0], pair.captions[0]) for pair in pairs]
    assert firsts == [(clip.file, text) for clip in clips for text in clip.captions]
    assert all(pair.files[0] != pair.files[1] for pair in pairs)
    assert all(pair.captions[1] in captions[pair.files[1]] for pair in pairs)
    assert len({pair.id for pair in pairs}) == len(pairs)


@given(st.integers(0, 2**31))
def test_of_two_clips_each_meets_the_other(seed: int):
    assert {pair.files for pair in draw_pairs(clips_of([3, 2]), seed)} == {
        ("0.wav", "1.wav"),
        ("1.wav", "0.wav"),
    }


def test_a_single_clip_is_no_pair():
    with pytest.raises(ValueError, match="at least two"):
        draw_pairs(clips_of([5]), 0)


def test_a_drawing_depends_on_the_seed_alone():
    clips = clips_of([2] * 20)
    assert draw_pairs(clips, 4) == draw_pairs(clips, 4)
    assert draw_pairs(clips, 4) != draw_pairs(clips, 5)


def test_every_other_clip_and_caption_is_equally_likely():
    clips = clips_of([2] * 4)
    drawn = [draw_pairs(clips, seed)[2] for seed in range(600)]  # the first caption of clip 1
    counts = Counter(pair.captions[1] for pair in drawn)
    assert len(counts) == 6  # three other clips with two captions each
    assert min(counts.values()) > 60  # 100 are expected; 4.4 deviations


def test_a_digest_tells_one_drawing_from_another():
    pairs = draw_pairs(clips_of([1, 1]), 0)
    assert digest(pairs) == digest(draw_pairs(clips_of([1, 1]), 0))
    assert digest(pairs) != digest((replace(pairs[0], captions=("", "")), pairs[1]))
