"""A small grammar of difference captions, and its exact inverse.

Captions are instructions that turn the first clip into the second, as in AudioDiffCaps. Every
clause names its operation unambiguously; edits of the background say "background". Training and
test draw on disjoint clauses, so that a test reference is a paraphrase training never showed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Literal

import numpy as np

from adiff_jax.data.schema import Edit
from adiff_jax.data.synth.phrases import ARTICLES, mention, noun, nouns

Templates = Literal["train", "test"]
PARAPHRASES = 5

# {the}: noun of the event, {a}: the event as something new, {new}: the replacement as new
TRAIN: Mapping[str, tuple[str, ...]] = {
    "none": (
        "leave everything as it is",
        "change nothing",
        "make no change",
        "keep everything the same",
        "do not change anything",
        "keep all sounds as they are",
    ),
    "add": (
        "add {a}",
        "put in {a}",
        "insert {a}",
        "include {a}",
        "add the sound of {a}",
        "mix in {a}",
    ),
    "remove": (
        "remove the {the}",
        "take out the {the}",
        "delete the {the}",
        "take the {the} away",
        "get rid of the {the}",
        "remove the sound of the {the}",
    ),
    "louder": (
        "make the {the} louder",
        "turn up the {the}",
        "turn the {the} up",
        "increase the volume of the {the}",
        "raise the level of the {the}",
        "make the sound of the {the} louder",
    ),
    "quieter": (
        "make the {the} quieter",
        "turn down the {the}",
        "turn the {the} down",
        "decrease the volume of the {the}",
        "lower the level of the {the}",
        "make the sound of the {the} quieter",
    ),
    "replace": (
        "replace the {the} with {new}",
        "change the {the} to {new}",
        "turn the {the} into {new}",
        "swap the {the} for {new}",
        "exchange the {the} for {new}",
        "replace the sound of the {the} with {new}",
    ),
    "earlier": (
        "move the {the} earlier",
        "play the {the} earlier",
        "make the {the} come earlier",
        "start the {the} earlier",
        "shift the {the} to an earlier time",
    ),
    "later": (
        "move the {the} later",
        "play the {the} later",
        "make the {the} come later",
        "start the {the} later",
        "shift the {the} to a later time",
    ),
    "background_louder": (
        "make the background {the} louder",
        "turn up the background {the}",
        "turn the background {the} up",
        "increase the volume of the background {the}",
        "raise the level of the background {the}",
        "make the {the} in the background louder",
    ),
    "background_quieter": (
        "make the background {the} quieter",
        "turn down the background {the}",
        "turn the background {the} down",
        "decrease the volume of the background {the}",
        "lower the level of the background {the}",
        "make the {the} in the background quieter",
    ),
    "background_swap": (
        "replace the background {the} with {new}",
        "change the background {the} to {new}",
        "turn the background {the} into {new}",
        "swap the background {the} for {new}",
        "replace the {the} in the background with {new}",
    ),
}

TEST: Mapping[str, tuple[str, ...]] = {
    "none": (
        "leave the clip unchanged",
        "nothing needs to change",
        "keep the clip exactly as it is",
        "leave all the sounds alone",
        "do nothing to the clip",
    ),
    "add": (
        "bring in {a}",
        "let {a} be heard as well",
        "add {a} to the clip",
        "introduce {a}",
        "place {a} in the clip",
    ),
    "remove": (
        "remove the {the} from the clip",
        "leave out the {the}",
        "cut out the {the}",
        "erase the {the}",
        "take the {the} out of the clip",
    ),
    "louder": (
        "make the {the} sound louder",
        "raise the volume of the {the}",
        "amplify the {the}",
        "bring the {the} up in volume",
        "play the {the} louder",
    ),
    "quieter": (
        "make the {the} sound quieter",
        "reduce the volume of the {the}",
        "soften the {the}",
        "bring the {the} down in volume",
        "play the {the} quieter",
    ),
    "replace": (
        "put {new} in place of the {the}",
        "substitute {new} for the {the}",
        "let {new} take the place of the {the}",
        "switch the {the} to {new}",
        "use {new} instead of the {the}",
    ),
    "earlier": (
        "let the {the} begin earlier",
        "bring the {the} forward in time",
        "move the {the} closer to the start",
        "make the {the} start sooner",
        "have the {the} happen earlier",
    ),
    "later": (
        "let the {the} begin later",
        "push the {the} back in time",
        "move the {the} closer to the end",
        "delay the {the}",
        "have the {the} happen later",
    ),
    "background_louder": (
        "make the background {the} sound louder",
        "raise the volume of the background {the}",
        "amplify the background {the}",
        "bring the background {the} up in volume",
        "play the {the} in the background louder",
    ),
    "background_quieter": (
        "make the background {the} sound quieter",
        "reduce the volume of the background {the}",
        "soften the background {the}",
        "bring the background {the} down in volume",
        "play the {the} in the background quieter",
    ),
    "background_swap": (
        "put {new} in place of the background {the}",
        "substitute {new} for the background {the}",
        "let {new} take the place of the background {the}",
        "switch the background {the} to {new}",
        "use {new} instead of the background {the}",
    ),
}

JOINERS: Mapping[Templates, tuple[str, ...]] = {
    "train": (" and ", " and then "),
    "test": (" and also ", " and "),
}

_CLAUSES: Mapping[Templates, Mapping[str, tuple[str, ...]]] = {"train": TRAIN, "test": TEST}


def captions(
    edits: Sequence[Edit], rng: np.random.Generator, templates: Templates = "train"
) -> tuple[str, ...]:
    """Five different sentences that say `edits` (one or two of them), in the order given."""
    return tuple(_sentence(edits, choice, templates) for choice in _choices(edits, rng, templates))


def corpus(
    operations: Iterable[str], events: Sequence[str], backgrounds: Sequence[str]
) -> Iterator[str]:
    """Training sentences that together hold every clause, joiner and label there is."""
    for operation in operations:
        labels = backgrounds if operation.startswith("background") else events
        for clause, label in product(TRAIN[operation], labels):
            yield _clause(clause, Edit(operation, label, label))
            if operation == "none":
                break
    for joiner in JOINERS["train"]:
        yield joiner.strip()


def read_edits(sentence: str, extra_labels: tuple[str, ...] = ()) -> frozenset[Edit] | None:
    """The program that `sentence` states, or None when it is not of this grammar.

    Reads any one- or two-edit sentence of either template set over the known labels and
    `extra_labels`; case, surrounding spaces and a full stop do not matter.
    """
    text = " ".join(sentence.lower().strip().rstrip(".").split())
    labels = nouns_of(extra_labels)
    single = _read_clause(text, labels)
    if single is not None:
        return frozenset({single})
    for joint in re.finditer(r" and (then |also )?", text):
        first = _read_clause(text[: joint.start()], labels)
        second = _read_clause(text[joint.end() :], labels)
        if (
            first
            and second
            and first != second
            and "none"
            not in (
                first.operation,
                second.operation,
            )
        ):
            return frozenset({first, second})
    return None


@lru_cache(maxsize=64)
def nouns_of(extra_labels: tuple[str, ...]) -> Mapping[str, str]:
    return nouns(extra_labels)


def _choices(
    edits: Sequence[Edit], rng: np.random.Generator, templates: Templates
) -> Iterator[tuple[int, ...]]:
    """Five different (joiner, clause of the first edit, ...) index tuples."""
    if len(edits) not in (1, 2):
        raise ValueError(f"a program has one or two edits, not {len(edits)}")
    orders = [rng.permutation(len(_CLAUSES[templates][edit.operation])) for edit in edits]
    for i in range(PARAPHRASES):  # never the same clause twice in a position
        joiner = int(rng.integers(len(JOINERS[templates]))) if len(edits) == 2 else 0
        yield (joiner, *(int(order[i]) for order in orders))


def _sentence(edits: Sequence[Edit], choice: Sequence[int], templates: Templates) -> str:
    clauses = [
        _clause(_CLAUSES[templates][edit.operation][index], edit)
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
        event = slots.get("the", slots.get("a", ""))
        labelled = [_label(phrase, labels) for phrase in (event, slots.get("new", ""))]
        if None not in labelled:
            found.add(Edit(operation, labelled[0] or "", labelled[1] or ""))
    return found.pop() if len(found) == 1 else None


def _label(phrase: str, labels: Mapping[str, str]) -> str | None:
    """ "" for no phrase, None for a phrase that is no label's."""
    if not phrase:
        return ""
    first, _, rest = phrase.partition(" ")
    return labels.get(rest if first in ARTICLES else phrase)


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(
        (operation, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>.+)", clause)))
        for clauses in _CLAUSES.values()
        for operation, templates in clauses.items()
        for clause in templates
    )
