"""Word-level and byte-pair tokenizers."""

import os
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adiff_jax.data.tokenizers import (
    BytePairs,
    TokenizerConfig,
    Words,
    build_tokenizer,
    gaps_in_words,
    load_tokenizer,
    vocabulary_gaps,
)

TEXTS = (
    "Make the rain louder, please!",
    "make the dog's bark quieter",
    "Remove the rain",
    "add 2 dogs",
)
WORDS = build_tokenizer(Words(), TEXTS)
BYTE_PAIRS = build_tokenizer(BytePairs(300), TEXTS)
CONFIGS = (Words(), BytePairs(300))


def test_word_ids_are_special_tokens_then_words_by_frequency() -> None:
    assert (WORDS.pad_id, WORDS.start_id, WORDS.end_id) == (0, 1, 2)
    assert WORDS.encode("the make rain 2") == [4, 5, 6, 7]
    assert WORDS.encode("zebra") == [3]
    assert WORDS.vocab_size == 4 + len(set(re.findall(r"[a-z0-9']+", " ".join(TEXTS).lower())))


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_text_are_the_published_pattern(text: str) -> None:
    known = set(re.findall(r"[a-z0-9']+", " ".join(TEXTS).lower()))
    words = re.findall(r"[a-z0-9']+", text.lower())
    assert len(WORDS.encode(text)) == len(words)
    assert WORDS.unknown(text) == [word for word in words if word not in known]


def test_words_decode_to_their_normal_form() -> None:
    ids = [WORDS.start_id, *WORDS.encode(TEXTS[0]), WORDS.end_id, WORDS.pad_id]
    assert WORDS.decode(ids) == "make the rain louder please"


def test_typographic_apostrophes_and_composed_letters_are_one_word() -> None:
    assert WORDS.encode("dog\u2019s") == WORDS.encode("dog's")
    assert WORDS.unknown("cafe\u0301") == WORDS.unknown("caf\u00e9") == ["caf\u00e9"]


@pytest.mark.parametrize("text", ["狗", "🐕", "café", "дождь", "²"])
def test_characters_outside_the_vocabulary_are_unknown_words_not_dropped(text: str) -> None:
    assert WORDS.encode(f"add {text}") == [*WORDS.encode("add"), 3]
    assert WORDS.unknown(f"add {text}, the rain") == [text]
    assert WORDS.decode(WORDS.encode(f"add {text}")) == "add <unk>"


@given(st.text())
def test_byte_pairs_give_back_any_text(text: str) -> None:
    ids = BYTE_PAIRS.encode(text)
    assert BYTE_PAIRS.decode(ids) == text
    assert BYTE_PAIRS.unknown(text) == []
    assert all(3 <= i < BYTE_PAIRS.vocab_size for i in ids)


@pytest.mark.parametrize("name", ["<pad>", "<sos>", "<eos>", "<unk>"])
def test_special_tokens_cannot_be_written_in_a_caption(name: str) -> None:
    assert not {0, 1, 2} & set(WORDS.encode(f"add {name} rain"))
    assert not {0, 1, 2} & set(BYTE_PAIRS.encode(f"add {name} rain"))


def test_byte_pairs_merge_what_is_frequent() -> None:
    assert BYTE_PAIRS.vocab_size == 300
    assert len(BYTE_PAIRS.encode("remove the rain")) < len("remove the rain") / 2


@pytest.mark.parametrize("config", CONFIGS)
def test_the_order_of_texts_does_not_matter(config: TokenizerConfig) -> None:
    forward, backward = build_tokenizer(config, TEXTS), build_tokenizer(config, TEXTS[::-1])
    every = " ".join(TEXTS)
    assert forward.encode(every) == backward.encode(every)
    assert forward.vocab_size == backward.vocab_size


@pytest.mark.parametrize("config", CONFIGS)
def test_a_saved_or_pickled_tokenizer_is_the_same(config: TokenizerConfig, tmp_path: Path) -> None:
    built = build_tokenizer(config, TEXTS)
    built.save(tmp_path / "run")
    for copy in (load_tokenizer(tmp_path / "run"), pickle.loads(pickle.dumps(built))):
        text = "Add the rain, 狗 zebra's"
        assert copy.encode(text) == built.encode(text)
        assert copy.decode(copy.encode(text)) == built.decode(built.encode(text))
        assert copy.unknown(text) == built.unknown(text)
        assert (copy.vocab_size, copy.end_id) == (built.vocab_size, built.end_id)


def test_a_tokenizer_that_cannot_be_written_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WORDS.save(tmp_path)
    before = (tmp_path / "tokenizer.json").read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        BYTE_PAIRS.save(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == before


def test_a_directory_without_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no tokenizer at {tmp_path}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "not json", "{}"])
def test_a_broken_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match="tokenizer.json is no tokenizer"):
        load_tokenizer(tmp_path)


def test_rare_words_are_left_out_by_min_count() -> None:
    tokenizer = build_tokenizer(Words(min_count=2), TEXTS)
    assert (
        tokenizer.unknown(" ".join(TEXTS))
        == "louder please dog's bark quieter remove add 2 dogs".split()
    )


def test_gaps_are_counted_and_said() -> None:
    gaps = vocabulary_gaps(WORDS, ["add zebra", "zebra 狗"])
    assert gaps == {"zebra": 2, "狗": 1}
    assert gaps_in_words(gaps) == (
        "2 words are outside the vocabulary (read as <unk>): zebra (2), 狗 (1)"
    )
    assert gaps_in_words({f"w{n}": 1 for n in range(23)}).endswith("w19 (1) and 3 more")
    assert vocabulary_gaps(WORDS, TEXTS) == vocabulary_gaps(BYTE_PAIRS, ["zebra 狗"]) == {}


@pytest.mark.parametrize("texts", [[], ["", "?!"]])
def test_a_vocabulary_of_nothing_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="no word occurs"):
        build_tokenizer(Words(), texts)


def test_too_few_byte_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="BytePairs.size is 100.*259"):
        build_tokenizer(BytePairs(100), TEXTS)
