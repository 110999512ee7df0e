"""What a model is asked, in many wordings."""

from collections import Counter

import pytest

from adiff_jax.data.prompts import CANONICAL, PARAPHRASES, kind_of, paraphrase

WORDS = 20
"""No word below takes two tokens of GPT-2 more than once in a while: 20 words are under 38 ids."""


def test_there_are_six_kinds_with_a_dozen_wordings_each() -> None:
    tiers = {"tier-1", "tier-2", "tier-3"}
    captions = {"caption-first", "caption-second", "caption-both"}
    assert set(CANONICAL) == set(PARAPHRASES) == tiers | captions
    for kind, texts in PARAPHRASES.items():
        assert len(set(texts)) == len(texts) >= 12
        assert CANONICAL[kind] in texts


def test_no_wording_belongs_to_two_kinds() -> None:
    counts = Counter(text for texts in PARAPHRASES.values() for text in texts)
    assert set(counts.values()) == {1}
    normal = {" ".join(text.lower().strip("?., ").split()) for text in counts}
    assert len(normal) == len(counts)


def test_a_wording_is_read_back_as_its_kind() -> None:
    assert all(kind_of(text) == kind for kind, texts in PARAPHRASES.items() for text in texts)
    with pytest.raises(ValueError, match=r"'what\?' is a wording of none of tier-1, tier-2"):
        kind_of("what?")


def test_a_position_is_asked_for_by_its_own_name_only() -> None:
    other = {"caption-first": ("audio 2", "second audio"), "caption-second": ("audio 1",)}
    for kind, words in other.items():
        assert not [text for text in PARAPHRASES[kind] if any(word in text for word in words)]


@pytest.mark.parametrize("kind", PARAPHRASES)
def test_wordings_are_short_enough_for_a_prompt(kind: str) -> None:
    assert max(len(text.split()) for text in PARAPHRASES[kind]) <= WORDS
    assert all(text.isascii() and "!" not in text for text in PARAPHRASES[kind])


@pytest.mark.parametrize("kind", PARAPHRASES)
def test_draws_are_fixed_and_reach_every_wording_about_equally(kind: str) -> None:
    drawn = [paraphrase(kind, draw) for draw in range(2000)]
    assert drawn == [paraphrase(kind, draw) for draw in range(2000)]
    counts = Counter(drawn)
    assert set(counts) == set(PARAPHRASES[kind])
    assert min(counts.values()) > 2000 / len(counts) * 0.6
    # captions are drawn by the remainder of the same integer
    assert {paraphrase(kind, draw) for draw in range(0, 2000, 5)} == set(PARAPHRASES[kind])
