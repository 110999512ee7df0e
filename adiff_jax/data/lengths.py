"""Texts that are too long for a row, refused before anything is trained."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from adiff_jax.data.prompts import PARAPHRASES
from adiff_jax.data.schema import TextEncoder
from adiff_jax.data.wording import Compat, wording


@runtime_checkable
class TextSizes(Protocol):
    """What `adiff_jax.data.transforms.EncodeConfig` says of texts."""

    @property
    def max_tokens(self) -> int: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def paraphrase(self) -> bool: ...
    @property
    def compat(self) -> Compat: ...


def check_lengths(config: TextSizes, tokenizer: TextEncoder, texts: Iterable[str]) -> None:
    """Refuse, before anything is trained, texts that do not fit: captions into `max_tokens`,
    paraphrases, where they are drawn, into `prompt_tokens`.

    Errors: ValueError that names the longest caption and the `max_tokens` that would hold it, or
    the paraphrase; those of `data.wording.wording`.
    """
    form = wording(tokenizer, config.compat)
    if config.paraphrase:
        for prompt in (text for of_kind in PARAPHRASES.values() for text in of_kind):
            form.prompt(prompt, config.prompt_tokens)
    longest, size = "", 0
    for text in texts:
        needed = len(form.answer(text)[0])
        if needed > size:
            longest, size = text, needed
    if size > config.max_tokens:
        raise ValueError(too_long(longest, size, config.max_tokens))


def too_long(caption: str, needed: int, limit: int) -> str:
    """The sentence about a caption that takes more tokens than a row has."""
    return (
        f"caption {caption!r} takes {needed} tokens with its end, but max_tokens is {limit}; "
        f"set it to at least {needed} or shorten the caption"
    )
