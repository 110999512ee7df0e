"""Which events of a label set a sentence names, wherever and in whatever sentence.

A label is named by its noun phrase (`phrases.noun`) or, in label sets such as AudioSet's, by any
of the names between its commas ("Vehicle horn, car horn, honking"). Case and punctuation do not
matter; a name that two labels share, and is whole for neither, names none of them.
"""

import re
from collections import Counter
from functools import lru_cache

from adiff_jax.data.synth.phrases import noun


def named_events(text: str, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `labels` that `text` names, in the order in which it first does."""
    pattern, label_of = _names(labels)
    found = pattern.finditer(_plain(text)) if label_of else ()
    return tuple(dict.fromkeys(label_of[match[0]] for match in found))


@lru_cache(maxsize=64)
def _names(labels: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """The pattern of all names, longer ones first, and the label of each."""
    whole = [(_plain(form), label) for label in labels for form in {noun(label), label}]
    parts = [(_plain(part), label) for label in labels for part in label.split(",")]
    label_of: dict[str, str] = {}
    for pairs in (whole, parts):
        shared = Counter(name for name, _ in set(pairs))
        new = {name: label for name, label in pairs if name and shared[name] == 1}
        label_of = new | label_of
    ordered = sorted(label_of, key=len, reverse=True)
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, ordered))})(?!\S)"), label_of


def _plain(text: str) -> str:
    """Lower-case words with single spaces, no punctuation."""
    return " ".join(re.findall(r"[^\W_]+(?:'\w+)?", text.lower()))
