"""Instructions: the shipped ones can be read, one's own are checked, captions stay whole."""

from pathlib import Path

import pytest

from adiff_jax.data.writing.prompts import SHIPPED, read_prompts


def test_the_shipped_prompts_hold_both_captions_and_what_the_tier_is_about():
    prompts = read_prompts()
    for tier in (1, 2, 3):
        asked = prompts.ask(tier, ("a dog barks", "rain"))
        assert "Audio 1: a dog barks\nAudio 2: rain\n" in asked
        low, high = prompts.tiers[tier - 1].words
        named = [int(word) for word in asked.split() if word.isdigit() and int(word) > 2]
        assert low < named[0] < named[1] < high  # asked for less than is allowed
    assert "it is empty." in prompts.correct("is empty")


def test_a_caption_that_looks_like_a_placeholder_stays_as_it_is():
    asked = read_prompts().ask(1, ("{caption2} {x} \\1", "rain"))
    assert "Audio 1: {caption2} {x} \\1\n" in asked


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    return path


def test_a_file_of_ones_own_takes_their_place(tmp_path: Path):
    path = changed(tmp_path, "words = [10, 50]", "words = [5, 9]")
    assert read_prompts(path).tiers[0].words == (5, 9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[tier_2]", "[tier_4]", "tier_4 is not one of"),
        ("words = [10, 50]", "", r"\[tier_1\] needs the fields prompt and words"),
        ("words = [10, 50]", "words = [50, 10]", r"words of \[tier_1\] is \[50, 10\]"),
        ("words = [10, 50]", 'words = "few"', r"words of \[tier_1\] is few"),
        (
            "Audio 2: {caption2}",
            "{caption3}",
            r"prompt of \[tier_1\] needs {caption1} and {caption2}",
        ),
        ("it {reason}", "it is wrong", "correction needs {reason}, and has none"),
        ("system =", "systen =", "systen is not one of"),
        ("words = [10, 50]", "words = [10", "is not TOML"),
    ],
)
def test_a_mistake_in_it_is_named(tmp_path: Path, old: str, new: str, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        read_prompts(changed(tmp_path, old, new))
    assert "mine.toml" in str(caught.value)
