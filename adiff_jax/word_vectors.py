"""Word vectors of the training captions: what CL4AC's embedding starts from.

gensim's word2vec reads every caption as `<sos> words ... <eos>`. Its vectors, as long as it leaves
them, replace the fresh rows of the decoder's embedding; a token that the captions do not hold, such
as padding, keeps its fresh row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.data.tokenizers import Tokenizer
from adiff_jax.parallel.sharding import leaf_path
from adiff_jax.protocol import Variables

EMBEDDING = "params/decoder/embedding/embedding"  # [v d]


@dataclass(frozen=True)
class WordVectors:
    """gensim's word2vec, as a continuous bag of words; the width is the decoder's.

    A token that occurs less than `min_count` times gets no vector.
    """

    window: int = 5
    negative: int = 5  # words drawn against each word
    epochs: int = 5
    min_count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("window", "negative", "epochs", "min_count"):
            if getattr(self, name) < 1:
                raise ValueError(f"word_vectors.{name} is {getattr(self, name)}: give 1 or more")


def train_vectors(
    texts: Iterable[str], tokenizer: Tokenizer, width: int, config: WordVectors
) -> dict[int, np.ndarray]:
    """The vector [d] of each token of `texts`, which come in the same order everywhere.

    The result is the same in every process with these versions, on one kind of processor. Raises
    ImportError without gensim; ValueError for a tokenizer of other things than words, and when no
    token occurs often enough.
    """
    start = tokenizer.start_id
    if start is None or tokenizer.encode(" "):  # bytes stand for a space, words do not
        raise ValueError(
            "word_vectors: the tokenizer has pieces of words; set data.tokenizer to Words(), or "
            "leave word_vectors out"
        )
    # as text: gensim takes an integer for a row number
    sentences = [
        [str(token) for token in (start, *tokenizer.encode(text), tokenizer.end_id)]
        for text in texts
    ]
    model = _word2vec()(
        vector_size=width,
        window=config.window,
        negative=config.negative,
        min_count=config.min_count,
        seed=config.seed,
        workers=1,  # several would write into the same rows in any order
    )
    model.build_vocab(sentences)
    if not len(model.wv):
        raise ValueError(
            f"word_vectors: no token occurs {config.min_count} times in {len(sentences)} texts; "
            "lower word_vectors.min_count or give captions"
        )
    model.train(sentences, total_examples=len(sentences), epochs=config.epochs)
    return {int(token): model.wv[token] for token in model.wv.index_to_key}


def overlay_vectors(variables: Variables, vectors: Mapping[int, np.ndarray]) -> Variables:
    """`variables` with the decoder's embedding taken from `vectors`, placed as it was.

    Rows without a vector stay. `vectors` are the same on every process. Raises ValueError when the
    model has no such embedding, or one of another width or with too few rows.
    """
    found = False

    def lay(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        nonlocal found
        if leaf_path(path) != EMBEDDING:
            return leaf
        found = True
        return _laid_over(leaf, vectors)

    result = jax.tree_util.tree_map_with_path(lay, variables)
    if not found:
        raise ValueError(f"word_vectors: the model has no {EMBEDDING}; leave word_vectors out")
    return result


def _laid_over(embedding: jax.Array, vectors: Mapping[int, np.ndarray]) -> jax.Array:
    rows, width = embedding.shape
    if (largest := max(vectors, default=0)) >= rows:
        raise ValueError(
            f"word_vectors: token {largest} has a vector, but the embedding has {rows} rows; set "
            "model.vocab_size to that of the tokenizer"
        )
    table = np.zeros((rows, width), embedding.dtype)
    given = np.zeros((rows, 1), bool)
    for token, vector in vectors.items():
        if vector.shape != (width,):
            raise ValueError(
                f"word_vectors: a vector has the shape {vector.shape}, but the decoder is {width} "
                "wide; train them at that width"
            )
        table[token], given[token] = vector, True
    return jax.jit(jnp.where, out_shardings=embedding.sharding)(given, table, embedding)


def _word2vec() -> Any:
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise ImportError(
            "word_vectors needs gensim: pip install 'adiff_jax[words]', or leave word_vectors out"
        ) from error
    return Word2Vec
