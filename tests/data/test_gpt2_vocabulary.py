"""GPT-2's vocabulary: the published ids, where it is looked for, and that a run keeps it."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adiff_jax.data.gpt2_vocabulary import Gpt2Vocabulary
from adiff_jax.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from adiff_jax.data.wording import Adiff2025, Plain
from tests.goldens import FOLDER

GOLDEN: dict[str, Any] = json.loads((FOLDER / "gpt2_token_ids.json").read_text())


@pytest.fixture(scope="module")
def folder(data_directory: Path) -> Path:
    path = data_directory / "gpt2_tokenizer"
    if not path.is_dir():
        pytest.skip(f"no GPT-2 vocabulary: {path} does not exist")
    return path


@pytest.fixture(scope="module")
def gpt2(folder: Path) -> Tokenizer:
    return build_tokenizer(Gpt2Vocabulary(str(folder)), ())


def test_ids_are_the_published_ones(gpt2: Tokenizer) -> None:
    compat = Adiff2025(gpt2)
    for case in GOLDEN["edge"]:
        assert gpt2.encode(case["text"]) == case["plain"]
        ids, counted = compat.answer(case["text"])
        expected = [*case["with_pad_bang"], GOLDEN["stop_id"], GOLDEN["eot_id"]]
        assert ids.tolist() == expected
        assert counted.tolist() == [i != GOLDEN["pad_id"] for i in expected]


def test_prompts_are_the_published_ones(gpt2: Tokenizer) -> None:
    compat, size = Adiff2025(gpt2), GOLDEN["max_prompt_len"]
    for case in [*GOLDEN["prompts"], GOLDEN["long_prompt_truncation"]]:
        ids, counted = compat.prompt(case["text"], size)
        assert ids.tolist() == case["ids_40"] and counted.all()
    for case in GOLDEN["prompts"]:
        ids, counted = Plain(gpt2).prompt(case["text"], size)
        assert ids[counted].tolist() == case["ids_unpadded"][:-2]
        assert (ids[~counted] == GOLDEN["eot_id"]).all()
    with pytest.raises(ValueError, match=r"the prompt 'explain explain.*takes 6\d tokens"):
        Plain(gpt2).prompt(GOLDEN["long_prompt_truncation"]["text"], size)


def test_answers_are_the_published_ones(gpt2: Tokenizer) -> None:
    for case in GOLDEN["answers"]:
        assert Adiff2025(gpt2).answer(case["text"])[0].tolist() == case["ids_with_suffix"]


def test_only_the_end_token_is_special(gpt2: Tokenizer) -> None:
    assert (gpt2.pad_id, gpt2.start_id, gpt2.end_id) == (None, None, 50256)
    assert gpt2.vocab_size == GOLDEN["vocab_size"]
    assert gpt2.silent_ids(50257) == ()
    assert gpt2.silent_ids(50260) == (50257, 50258, 50259)
    assert gpt2.unknown("zebra 狗") == []


def test_a_sentence_loses_its_end_token_and_keeps_its_space(gpt2: Tokenizer) -> None:
    assert gpt2.decode([*gpt2.encode("a dog"), gpt2.end_id]) == "a dog"
    assert gpt2.decode([*gpt2.encode("a dog"), 220]) == "a dog "
    assert gpt2.decode([0, 0]) == "!!"


def test_any_text_comes_back(gpt2: Tokenizer) -> None:
    @given(st.text())
    def comes_back(text: str) -> None:
        assert gpt2.decode(gpt2.encode(text)) == text

    comes_back()


def test_a_run_keeps_the_vocabulary_whole(gpt2: Tokenizer, tmp_path: Path) -> None:
    gpt2.save(tmp_path)
    for copy in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(gpt2))):
        assert (copy.vocab_size, copy.end_id, copy.pad_id) == (50257, 50256, None)
        for case in GOLDEN["edge"]:
            assert copy.encode(case["text"]) == case["plain"]
            assert copy.decode(case["plain"]) == gpt2.decode(case["plain"])


@pytest.mark.parametrize("variable", ["ADIFF_DATA", "XDG_CACHE_HOME", "HOME"])
def test_the_vocabulary_is_found_below_the_data_and_in_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("ADIFF_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv(variable, str(tmp_path))
    below = {"ADIFF_DATA": ".", "XDG_CACHE_HOME": "adiff_jax", "HOME": ".cache/adiff_jax"}
    place = tmp_path / below[variable]
    place.mkdir(parents=True, exist_ok=True)
    (place / "gpt2_tokenizer").symlink_to(folder)
    assert build_tokenizer(Gpt2Vocabulary(), ()).encode("a!b") == [64, 0, 65]


def test_a_missing_vocabulary_names_every_place_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADIFF_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    places = f"in gone, {tmp_path}/data/gone, {tmp_path}/cache/adiff_jax/gone: get both files from"
    with pytest.raises(FileNotFoundError, match=places):
        build_tokenizer(Gpt2Vocabulary("gone"), ())
    monkeypatch.delenv("ADIFF_DATA")
    with pytest.raises(FileNotFoundError, match="ADIFF_DATA is not set"):
        build_tokenizer(Gpt2Vocabulary("gone"), ())


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ('{"a": 0, "b": 1}', "holds 2 tokens, .* at None; GPT-2 has 50257"),
        ("not json", "holds no byte-pair vocabulary"),
    ],
)
def test_another_vocabulary_is_refused(tmp_path: Path, vocabulary: str, message: str) -> None:
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(ValueError, match=message):
        build_tokenizer(Gpt2Vocabulary(str(tmp_path)), ())
