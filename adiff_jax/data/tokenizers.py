"""Text <-> token ids, on the `tokenizers` library: word-level, byte-pair, and GPT-2's.

Those that are built here put `<pad>`, `<sos>` and `<eos>` at 0, 1, 2; the word-level one has
`<unk>` at 3. These are entries of the vocabulary, not patterns: a caption that contains the
characters "<eos>" does not encode to the end token. GPT-2's has an end token only, its last one.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import tokenizers
from etils import epath
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from adiff_jax.data.gpt2_vocabulary import END_OF_TEXT, Gpt2Vocabulary, read_gpt2
from adiff_jax.storage import located, write_whole

PAD, START, END, UNKNOWN = "<pad>", "<sos>", "<eos>", "<unk>"
FILE_NAME = "tokenizer.json"
_SHOWN = 20

# On ASCII text this is [a-z0-9']+. Letters and symbols beyond ASCII belong to words too, so that
# they come out as <unk> and are counted, and are not dropped like punctuation.
_WORD = r"(?:[a-z0-9']|[^\x00-\x7F\p{P}\p{Z}\p{C}])+"


@dataclass(frozen=True)
class Words:
    """One token a lower-case word that occurs at least `min_count` times in the texts."""

    min_count: int = 1


@dataclass(frozen=True)
class BytePairs:
    """Byte-pair encoding of at most `size` tokens; every text can be encoded and comes back.

    The smallest useful `size` is 259: three special tokens and the 256 bytes.
    """

    size: int = 1000


TokenizerConfig = Words | BytePairs | Gpt2Vocabulary


class Tokenizer:
    """A vocabulary. Picklable; the same texts give the same ids everywhere.

    `pad_id` and `start_id` are None where the vocabulary has no such token.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        vocabulary = backend.get_vocab()
        pad, start, end = (vocabulary.get(name) for name in (PAD, START, END))
        if pad is None and start is None:
            end = vocabulary.get(END_OF_TEXT)
        elif pad is None or start is None:
            end = None
        if end is None:
            raise ValueError(
                f"the vocabulary has neither {PAD}, {START} and {END}, nor {END_OF_TEXT}"
            )
        self._backend = backend
        self.pad_id: int | None = pad
        self.start_id: int | None = start
        self._end_id: int = end

    @property
    def end_id(self) -> int:
        return self._end_id

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without start or end tokens; unknown words become `<unk>`."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, padding, start and end tokens left out."""
        special = (self.pad_id, self.start_id, self.end_id)
        return self._backend.decode([int(i) for i in ids if i not in special])

    def silent_ids(self, vocab_size: int) -> tuple[int, ...]:
        """Ids of a model with `vocab_size` of them that stand for no text and end no sentence."""
        special = [i for i in (self.pad_id, self.start_id) if i is not None]
        return (*special, *range(self.vocab_size, vocab_size))

    def unknown(self, text: str) -> list[str]:
        """The words of `text` outside the vocabulary, in order; none for byte pairs."""
        if not isinstance(self._backend.model, models.WordLevel):
            return []
        normal = self._backend.normalizer.normalize_str(text)
        words = [word for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(normal)]
        return [word for word in words if self._backend.token_to_id(word) is None]

    def save(self, directory: epath.PathLike) -> None:
        """Write `tokenizer.json` into `directory`, local or in a bucket, whole or not at all."""
        folder = located(directory)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE_NAME, self._backend.to_str(pretty=True))


def load_tokenizer(directory: epath.PathLike) -> Tokenizer:
    """Read what `Tokenizer.save` wrote.

    Errors: FileNotFoundError without a tokenizer there, ValueError for a broken one.
    """
    path = located(directory) / FILE_NAME
    if not path.exists():
        raise FileNotFoundError(
            f"no tokenizer at {path}: token ids mean nothing without it; copy {FILE_NAME} from "
            "the run that trained this checkpoint"
        )
    try:
        return Tokenizer(tokenizers.Tokenizer.from_str(path.read_text()))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{path} is no tokenizer of this package: {error}") from error


def build_tokenizer(config: TokenizerConfig, texts: Iterable[str]) -> Tokenizer:
    """Build a vocabulary from `texts`, whose order does not matter, or read GPT-2's.

    Errors: ValueError for texts without a single word, or a size that cannot be reached; those of
    `gpt2_vocabulary.read_gpt2`.
    """
    match config:
        case Words():
            backend = _word_level(config, texts)
        case BytePairs():
            backend = _byte_pair(config, texts)
        case Gpt2Vocabulary():
            backend = read_gpt2(config)
    return Tokenizer(backend)


def vocabulary_gaps(tokenizer: Tokenizer, texts: Iterable[str]) -> dict[str, int]:
    """Words of `texts` outside the vocabulary with their counts, most frequent first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenizer.unknown(text))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def gaps_in_words(gaps: Mapping[str, int]) -> str:
    """ "2 words are outside the vocabulary (read as <unk>): zebra (2), 狗 (1)"."""
    shown = ", ".join(f"{word} ({count})" for word, count in list(gaps.items())[:_SHOWN])
    more = f" and {len(gaps) - _SHOWN} more" if len(gaps) > _SHOWN else ""
    words = "1 word is" if len(gaps) == 1 else f"{len(gaps)} words are"
    return f"{words} outside the vocabulary (read as {UNKNOWN}): {shown}{more}"


def _word_level(config: Words, texts: Iterable[str]) -> tokenizers.Tokenizer:
    normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace("\u2019", "'")]
    )
    splitter = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    counts: Counter[str] = Counter()
    for text in texts:
        pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        counts.update(word for word, _ in pieces)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [word for word, count in ordered if count >= config.min_count]
    if not words:
        raise ValueError(
            f"no word occurs {config.min_count} times in the texts: nothing to build a "
            "vocabulary from; lower Words.min_count or give captions"
        )
    names = (PAD, START, END, UNKNOWN, *words)
    vocabulary = {name: number for number, name in enumerate(names)}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = normalizer
    backend.pre_tokenizer = splitter
    return backend


def _byte_pair(config: BytePairs, texts: Iterable[str]) -> tokenizers.Tokenizer:
    special = [PAD, START, END]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if config.size < len(special) + len(alphabet):
        raise ValueError(
            f"BytePairs.size is {config.size}; three special tokens and the 256 bytes need "
            f"{len(special) + len(alphabet)}"
        )
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=config.size,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    trained.train_from_iterator(sorted(texts), trainer)
    # The trainer leaves the special tokens as patterns that match inside texts; a model of the
    # same vocabulary and merges without them does not.
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    backend = tokenizers.Tokenizer(models.BPE(vocab=model["vocab"], merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend
