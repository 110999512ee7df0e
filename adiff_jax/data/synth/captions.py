"""A small grammar of difference captions, and its exact inverse.

Captions are instructions that turn the first clip into the second, as in AudioDiffCaps. The
clauses lie in `templates`, the names of classes in `phrases`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product

import numpy as np

from adiff_jax.data.schema import Edit
from adiff_jax.data.synth.phrases import ARTICLES, mention, noun, nouns
from adiff_jax.data.synth.templates import CLAUSES, JOINERS, TRAIN, Templates

PARAPHRASES = 5
NOTHING = Edit("none")


def captions(
    edits: Sequence[Edit], rng: np.random.Generator, templates: Templates = "train"
) -> tuple[str, ...]:
    """Five different sentences that say `edits` (one or two of them), in the order given."""
    return tuple(_sentence(edits, choice, templates) for choice in _choices(edits, rng, templates))


def corpus(
    operations: Iterable[str],
    events: Sequence[str],
    backgrounds: Sequence[str],
    two_edits: bool = False,
) -> Iterator[str]:
    """Training sentences that together hold every clause, joiner and label there is.

    With `two_edits` the sentences of two clauses with the most words are among them, for their
    lengths.
    """
    longest: dict[str, str] = {}  # clause of each label
    for operation in operations:
        labels = backgrounds if operation.startswith("background") else events
        for clause, label in product(TRAIN[operation], ("",) if operation == "none" else labels):
            sentence = _clause(clause, Edit(operation, label, label))
            longest[label] = max(longest.get(label, ""), sentence, key=_words)
            yield sentence
    pair = sorted(longest.values(), key=_words)[-2:]
    for joiner in JOINERS["train"]:
        yield joiner.join(pair) if two_edits else joiner.strip()


def _words(sentence: str) -> int:
    return len(sentence.split())


def read_edits(sentence: str, extra_labels: tuple[str, ...] = ()) -> frozenset[Edit] | None:
    """The program that `sentence` states, or None when it is not of this grammar.

    Reads any one- or two-edit sentence of either template set over the known labels and
    `extra_labels`; case, surrounding spaces and a full stop do not matter.
    """
    text = " ".join(sentence.lower().strip().rstrip(".").split())
    labels = _nouns(extra_labels)
    single = _read_clause(text, labels)
    if single is not None:
        return frozenset({single})
    for joint in re.finditer(r" and (then |also )?", text):
        first = _read_clause(text[: joint.start()], labels)
        second = _read_clause(text[joint.end() :], labels)
        if first and second and first != second and NOTHING not in (first, second):
            return frozenset({first, second})
    return None


@lru_cache(maxsize=64)
def _nouns(extra_labels: tuple[str, ...]) -> Mapping[str, str]:
    return nouns(extra_labels)


def _choices(
    edits: Sequence[Edit], rng: np.random.Generator, templates: Templates
) -> Iterator[tuple[int, ...]]:
    """Five different (joiner, clause of the first edit, ...) index tuples."""
    if len(edits) not in (1, 2):
        raise ValueError(f"a program has one or two edits, not {len(edits)}")
    orders = [rng.permutation(len(CLAUSES[templates][edit.operation])) for edit in edits]
    for i in range(PARAPHRASES):  # never the same clause twice in a position
        joiner = int(rng.integers(len(JOINERS[templates]))) if len(edits) == 2 else 0
        yield (joiner, *(int(order[i]) for order in orders))


def _sentence(edits: Sequence[Edit], choice: Sequence[int], templates: Templates) -> str:
    clauses = [
        _clause(CLAUSES[templates][edit.operation][index], edit)
        for edit, index in zip(edits, choice[1:], strict=True)
    ]
    return JOINERS[templates][choice[0]].join(clauses)


def _clause(template: str, edit: Edit) -> str:
    return template.format(
        the=noun(edit.event), a=mention(edit.event), new=mention(edit.replacement)
    )


def _read_clause(text: str, labels: Mapping[str, str]) -> Edit | None:
    """The one edit of the one clause `text`; None if no clause, or more than one, fits."""
    found = set()
    for operation, pattern in _patterns():
        match = pattern.fullmatch(text)
        if match is None:
            continue
        slots = match.groupdict()
        event = labels.get(slots["the"]) if "the" in slots else _mentioned(slots.get("a"), labels)
        replacement = _mentioned(slots.get("new"), labels)
        if event is not None and replacement is not None:
            found.add(Edit(operation, event, replacement))
    return found.pop() if len(found) == 1 else None


def _mentioned(phrase: str | None, labels: Mapping[str, str]) -> str | None:
    """The label that "a dog bark" names; None if no label does, empty for no phrase."""
    if phrase is None:
        return ""
    article, _, rest = phrase.partition(" ")
    return labels.get(rest) if article in ARTICLES else None


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (operation, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>.+)", clause)))
        for clauses in CLAUSES.values()
        for operation, templates in clauses.items()
        for clause in templates
    )
