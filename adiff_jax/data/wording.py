"""How a text becomes the ids that a model is asked with, taught to say, and stopped by.

Two forms. `Plain`, the default: a prompt is its text, an answer its text and the end token, and
what is left of a row is masked. `Adiff2025` is what ADIFF's published code does (Deshmukh et al.,
ICLR 2025): both end in a lone space and the end token, "!" is the padding, and the space ends an
answer.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from adiff_jax.data.schema import TextEncoder

Compat = Literal["", "adiff-2025"]
"""Whose behaviour: "" is our own, "adiff-2025" that of the published code, quirk by quirk."""

Ids = tuple[np.ndarray, np.ndarray]
"""int32 [t] and bool [t]: ids, and which of them count."""


@dataclass(frozen=True)
class Plain:
    """Texts as they are; the end token ends an answer."""

    tokenizer: TextEncoder

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer."""
        return (self.tokenizer.end_id,)

    def prompt(self, text: str, size: int) -> Ids:
        """`text` as `size` ids. Errors: ValueError that names a text that is empty or too long."""
        found = self.tokenizer.encode(text)
        if not found:
            raise ValueError(f"the prompt {text!r} holds no token: state what the model is asked")
        if len(found) > size:
            raise ValueError(
                f"the prompt {text!r} takes {len(found)} tokens, but data.encode.prompt_tokens is "
                f"{size}: shorten it, or set that to at least {len(found)}"
            )
        ids = np.full(size, self.tokenizer.end_id, np.int32)
        ids[: len(found)] = found
        return ids, np.arange(size) < len(found)

    def answer(self, text: str) -> Ids:
        """`text` with its end, as a model is taught to say it; as many ids as it takes."""
        ids = np.array([*self.tokenizer.encode(text), self.tokenizer.end_id], np.int32)
        return ids, np.ones(len(ids), bool)


@dataclass(frozen=True)
class Adiff2025:
    """Texts as ADIFF's published code forms them, over GPT-2's vocabulary.

    Every "!" of a text is a padding of its own, id 0; the paddings of a prompt take part, those of
    an answer are not learnt. Prompts are cut where they are too long.

    Errors: ValueError for another tokenizer than GPT-2's.
    """

    tokenizer: TextEncoder

    _PAD, _SPACE, _END = 0, 220, 50256
    _ENDING = " <|endoftext|>"

    def __post_init__(self) -> None:
        known = [*self.tokenizer.encode("!"), *self.tokenizer.encode(self._ENDING)]
        if known != [self._PAD, self._SPACE, self._END]:
            raise ValueError(
                'data.encode.compat is "adiff-2025", but the tokenizer is not GPT-2\'s: set '
                "data.tokenizer to Gpt2Vocabulary()"
            )

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """As `Plain.stop_ids`; sentences keep the space."""
        return (self._SPACE,)

    def prompt(self, text: str, size: int) -> Ids:
        """`text` and its ending as `size` ids, all of which count."""
        found = self._encode(text)[:size]
        ids = np.full(size, self._PAD, np.int32)
        ids[: len(found)] = found
        return ids, np.ones(size, bool)

    def answer(self, text: str) -> Ids:
        """As `Plain.answer`; ids 0 do not count."""
        ids = np.array(self._encode(text), np.int32)
        return ids, ids != self._PAD

    def _encode(self, text: str) -> list[int]:
        first, *rest = (text + self._ENDING).split("!")
        ids = list(self.tokenizer.encode(first))
        for piece in rest:
            ids += [self._PAD, *self.tokenizer.encode(piece)]
        return ids


Wording = Plain | Adiff2025


def wording(tokenizer: TextEncoder, compat: Compat) -> Wording:
    """The form of texts that `compat` names. Errors: ValueError as `Adiff2025`."""
    return Adiff2025(tokenizer) if compat == "adiff-2025" else Plain(tokenizer)
