"""GPT-2's byte-pair vocabulary, read from the two files it is published as."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

END_OF_TEXT = "<|endoftext|>"
_FILES = ("vocab.json", "merges.txt")
_SIZE, _END_ID = 50257, 50256


@dataclass(frozen=True)
class Gpt2Vocabulary:
    """The 50,257 tokens of GPT-2, from `vocab.json` and `merges.txt` in `folder`.

    The folder is looked for as it is given, under the environment variable ADIFF_DATA, and in the
    user's cache (`$XDG_CACHE_HOME/adiff_jax`, or `~/.cache/adiff_jax`).
    """

    folder: str = "gpt2_tokenizer"


def read_gpt2(config: Gpt2Vocabulary) -> tokenizers.Tokenizer:
    """The vocabulary. As published, the characters of its end token within a text are that token.

    Errors: FileNotFoundError that says where was looked, ValueError for files that are not GPT-2's.
    """
    folder = _find(config.folder)
    vocabulary, merges = (folder / name for name in _FILES)
    try:
        ids = json.loads(vocabulary.read_text("utf-8"))
        lines = merges.read_text("utf-8").splitlines()
        merged = [line.split(" ") for line in lines if line and not line.startswith("#version")]
        pairs = [(left, right) for left, right in merged]
        backend = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=pairs))
        known = len(ids) == _SIZE and ids.get(END_OF_TEXT) == _END_ID
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{folder} holds no byte-pair vocabulary: {error}; {_WAY_OUT}") from error
    if not known:
        raise ValueError(
            f"{vocabulary} holds {len(ids)} tokens, {END_OF_TEXT} at {ids.get(END_OF_TEXT)}; "
            f"GPT-2 has {_SIZE}, and it at {_END_ID}: {_WAY_OUT}"
        )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END_OF_TEXT, special=True)])
    return backend


_WAY_OUT = "get both files from https://huggingface.co/openai-community/gpt2"


def _find(folder: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    data = os.environ.get("ADIFF_DATA")
    places = [Path(folder).expanduser()]
    if not places[0].is_absolute():
        places += [Path(data) / folder] if data else []
        places += [Path(cache).expanduser() / "adiff_jax" / folder]
    for place in places:
        if all((place / name).is_file() for name in _FILES):
            return place
    hint = "" if data else " (ADIFF_DATA is not set)"
    raise FileNotFoundError(
        f"GPT-2's {' and '.join(_FILES)} are not in {', '.join(map(str, places))}{hint}: "
        f"{_WAY_OUT}, and put them into one of these folders"
    )
