"""Explanations by rule: of good form whatever the captions, in several wordings, never untrue to
them where it can be told."""

import csv
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adiff_jax.data.writing.checks import problem
from adiff_jax.data.writing.hearing import hear
from adiff_jax.data.writing.pairs import Pair
from adiff_jax.data.writing.prompts import TIERS, read_prompts
from adiff_jax.data.writing.template import TemplateWriter

PROMPTS = read_prompts()
WORDS = "a the dog barks rain man speaks while then loudly water quickly Siren TV and xyz. I (far)"
SOME_WORDS = st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=60).map(" ".join)


def written(tier: int, first: str, second: str, seed: int = 0, place: int = 0) -> str:
    pair = Pair(f"{place:06d}", ("a.wav", "b.wav"), (first, second))
    return TemplateWriter(seed, PROMPTS).write(pair, tier, None).text


@given(st.sampled_from(TIERS), SOME_WORDS, SOME_WORDS, st.integers(0, 100))
def test_any_captions_give_a_text_of_good_form(tier: int, first: str, second: str, seed: int):
    text = written(tier, first, second, seed)
    assert problem(text, tier, PROMPTS.tiers[tier - 1].words) == "", text


@pytest.mark.parametrize("tier", TIERS)
def test_captions_of_one_word_give_texts_of_good_form(tier: int):
    words = PROMPTS.tiers[tier - 1].words
    for first, second in product(("dog", "rain", "man", "xyz"), repeat=2):
        for seed in range(60):  # every wording
            text = written(tier, first, second, seed)
            assert problem(text, tier, words) == "", text


@pytest.mark.parametrize("tier", TIERS)
def test_published_captions_give_texts_of_good_form(tier: int, data_directory: Path):
    path = data_directory / "adiff_pairs" / "acd_val_adiff_fewwords_answer.csv"
    if not path.exists():
        pytest.skip(f"no published captions: {path} does not exist")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))[::5]
    texts = [written(tier, r["caption1"], r["caption2"], 0, n) for n, r in enumerate(rows)]
    words = PROMPTS.tiers[tier - 1].words
    assert {problem(text, tier, words) for text in texts} == {""}


@pytest.mark.parametrize("tier", TIERS)
def test_the_wording_is_drawn_by_seed_and_pair(tier: int):
    captions = ("A dog barks", "Rain falls")
    assert written(tier, *captions, seed=3) == written(tier, *captions, seed=3)
    assert len({written(tier, *captions, seed=seed) for seed in range(40)}) >= 3
    assert len({written(tier, *captions, place=place) for place in range(40)}) >= 3


@pytest.mark.parametrize("tier", TIERS)
def test_each_clip_has_its_own_caption_in_the_order_of_the_pair(tier: int):
    for seed in range(20):
        text = written(tier, "A dog barks.", "Rain falls", seed)
        assert text.index("animal sounds (a dog barks)") < text.index("water (rain falls)")
        assert "no kind of sound in common" in text


@pytest.mark.parametrize("tier", TIERS)
def test_what_both_have_is_said_to_be_shared(tier: int):
    text = written(tier, "A man speaks", "A woman laughs while a train passes")
    assert "both feature people" in text
    assert "in common" not in text
    assert ("only the second features engines" in text) == (tier > 1)


def test_clips_that_are_said_to_sound_alike_are_not_called_different():
    for seed in range(10):
        for tier in TIERS:
            assert "nothing tells the second from the first" in written(tier, "Rain", "Rain", seed)
        assert "differ" not in written(3, "Rain", "Rain", seed)


def test_sounds_outside_the_word_list_are_not_compared():
    for tier in TIERS:
        text = written(tier, "Foo", "Bar")
        assert "in common" not in text
        assert "neither of them is likely to be taken for the other" in text


def test_hearing_finds_kinds_manners_and_order():
    heard = hear("A man is SHOUTING, then dogs barked loudly in the distance.")
    assert heard.kinds == ("people", "animal sounds")
    assert heard.manners == ("loud", "far off")
    assert heard.order == "in turn"
    assert heard.caption == "a man is SHOUTING, then dogs barked loudly in the distance"
    assert hear("Rain falls while it thunders").order == "at once"
    assert hear("TV static. Then a pop!").caption == "TV static; then a pop"
    assert hear("I talk").caption == "I talk"
    assert hear("mandatory ratio").kinds == ()  # no "man", no "rat"
