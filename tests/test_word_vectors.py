"""Word vectors: gensim's own, the same in every process, and laid over an embedding as they are."""

import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gensim.models import Word2Vec
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from adiff_jax.data.tokenizers import BytePairs, Tokenizer, Words, build_tokenizer
from adiff_jax.word_vectors import WordVectors, overlay_vectors, train_vectors

WIDTH = 8
TEXTS = [
    f"{clip} {what} {where}!"
    for clip in ("A dog barks", "A cat meows", "Rain, falling", "The wind blows")
    for what in ("loudly", "quietly", "twice")
    for where in ("outside", "near a road", "in a room")
]
TOKENIZER = build_tokenizer(Words(), TEXTS)
USUAL = WordVectors()


def train(config: WordVectors = USUAL, texts: list[str] = TEXTS) -> dict[int, np.ndarray]:
    return train_vectors(texts, TOKENIZER, WIDTH, config)


def test_vectors_are_those_that_gensim_trains_on_framed_sentences() -> None:
    config = WordVectors(window=3, negative=4, epochs=7, seed=5)
    words = "".join(c for c in "\n".join(TEXTS).lower() if c not in "!,").split("\n")
    sentences = [["<sos>", *line.split(), "<eos>"] for line in words]
    theirs = Word2Vec(
        sentences, vector_size=WIDTH, window=3, negative=4, epochs=7, seed=5, min_count=1, workers=1
    ).wv
    ours = train(config)
    assert len(ours) == len(theirs)
    for word in theirs.index_to_key:
        ends = {"<sos>": TOKENIZER.start_id, "<eos>": TOKENIZER.end_id}
        token = ends[word] if word in ends else TOKENIZER.encode(word)[0]
        np.testing.assert_array_equal(ours[token], theirs[word])


def test_every_setting_has_an_effect() -> None:
    usual = train()
    for changed in (
        WordVectors(window=1),
        WordVectors(negative=1),
        WordVectors(epochs=1),
        WordVectors(seed=1),
    ):
        assert not np.array_equal(train(changed)[4], usual[4]), changed
    rarer = train(WordVectors(min_count=10))
    assert TOKENIZER.encode("a")[0] in rarer and TOKENIZER.encode("dog")[0] not in rarer


PROGRAM = """
import hashlib
from tests.test_word_vectors import train
vectors = train()
print(hashlib.sha256(b"".join(bytes([k]) + v.tobytes() for k, v in vectors.items())).hexdigest())
"""


def test_processes_that_hash_differently_train_the_same_vectors() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate(timeout=300)[0] for process in processes)
    assert len(first.strip()) == 64 and first == second


def test_padding_and_unknown_words_have_no_vector() -> None:
    assert set(train()) == {TOKENIZER.start_id, TOKENIZER.end_id, *range(4, TOKENIZER.vocab_size)}


def fresh(rows: int = TOKENIZER.vocab_size + 3, width: int = WIDTH) -> dict[str, Any]:
    embedding = jax.random.normal(jax.random.key(0), (rows, width))
    return {
        "params": {
            "decoder": {"embedding": {"embedding": embedding}, "output": {"bias": jnp.ones(rows)}},
            "encoder": {"embedding": {"embedding": jnp.ones((rows, width))}},
        },
        "batch_stats": {"encoder": {"mean": jnp.zeros(3)}},
    }


def test_only_rows_with_a_vector_change_and_only_in_the_decoder() -> None:
    before, vectors = fresh(), train()
    after = overlay_vectors(before, vectors)
    table = np.array(before["params"]["decoder"]["embedding"]["embedding"])
    for token, vector in vectors.items():
        table[token] = vector
    np.testing.assert_array_equal(after["params"]["decoder"]["embedding"]["embedding"], table)
    after["params"]["decoder"]["embedding"] = before["params"]["decoder"]["embedding"]
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_the_embedding_stays_where_it_was() -> None:
    variables = fresh(rows=64)
    layer = variables["params"]["decoder"]["embedding"]
    place = NamedSharding(Mesh(np.array(jax.devices()), ("fsdp",)), PartitionSpec("fsdp"))
    plain = overlay_vectors(variables, train())["params"]["decoder"]["embedding"]["embedding"]
    layer["embedding"] = jax.device_put(layer["embedding"], place)
    placed = overlay_vectors(variables, train())["params"]["decoder"]["embedding"]["embedding"]
    assert placed.sharding == place
    np.testing.assert_array_equal(placed, plain)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (fresh(rows=10), "has 10 rows; set model.vocab_size"),
        (fresh(width=WIDTH + 1), r"shape \(8,\), but the decoder is 9 wide"),
        ({"params": {"encoder": {}}}, "the model has no params/decoder/embedding/embedding"),
    ],
)
def test_an_embedding_that_does_not_fit_is_refused(variables: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        overlay_vectors(variables, train())


@pytest.mark.parametrize("kind", ["byte pairs", "gpt2"])
def test_a_tokenizer_of_pieces_of_words_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer: Tokenizer = build_tokenizer(BytePairs(300), TEXTS)
    if kind == "gpt2":
        monkeypatch.setattr(tokenizer, "start_id", None)
    with pytest.raises(ValueError, match=r"pieces of words; set data.tokenizer to Words\(\)"):
        train_vectors(TEXTS, tokenizer, WIDTH, WordVectors())


@pytest.mark.parametrize("name", ["window", "negative", "epochs", "min_count"])
def test_a_setting_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"word_vectors.{name} is 0"):
        WordVectors(**{name: 0})


@pytest.mark.parametrize("texts", [[], TEXTS[:2]])
def test_texts_without_a_frequent_token_are_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="no token occurs 99 times"):
        train(WordVectors(min_count=99), texts)


def test_without_gensim_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ImportError, match=r"pip install 'adiff_jax\[words\]'"):
        train()
