"""The words that metrics count: the reference tokeniser, and the plain one beside it."""

import pytest

from adiff_jax.evaluate.java import java_missing
from adiff_jax.evaluate.tokenization import tokenize

needs_java = pytest.mark.skipif(java_missing() is not None, reason=java_missing() or "")

PLAIN_ENGLISH = [
    "Add a dog's bark.",
    "Make the rain louder, and remove the low-pitched horn!",
    "It's the same: don't change anything; the clock isn't there.",
    "The second clip is 3.5 dB quieter (at 1,000 Hz)".replace("(", "").replace(")", ""),
    "We can't hear 50% of it, they'll say we've cannot",
    'The "bell" rings - twice... or 2 times?',
    "café noise it’s fading",
    "",
    "   ",
    "two\nlines\u2028three\x85four",
]
BRACKETS = "Remove the bell (the loud one), a/b, e.g. $5 & gonna go #1"


@needs_java
def test_ptb_words_equal_those_of_pycocoevalcap():
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = [*PLAIN_ENGLISH[:-1], BRACKETS]
    expected = PTBTokenizer().tokenize({0: [{"caption": text} for text in texts]})[0]
    assert [" ".join(words) for words in tokenize(texts, "ptb")] == expected


@needs_java
def test_plain_words_equal_ptb_words_on_plain_english():
    assert tokenize(PLAIN_ENGLISH, "plain") == tokenize(PLAIN_ENGLISH, "ptb")


def test_plain_words_are_lower_case_without_punctuation():
    assert tokenize(["The dog's BARK isn't (that) loud, at 3.5 dB."], "plain") == [
        ["the", "dog", "'s", "bark", "is", "n't", "that", "loud", "at", "3.5", "db"]
    ]
