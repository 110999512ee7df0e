"""Generated sentences scored as edit programs: what happened, to which event, in which direction.

A reader turns a sentence back into edits (`data/synth/captions.py` for our own grammar) or says
that it cannot. All scores are ratios of sums over pairs, kept as `Measure` so that the number and
its interval come from the same arrays. With T the true program, S the program that was said (empty
if unreadable; in both, "nothing changed" is the one-element program of the edit "none"):

program.exact            S = T
edits.precision, recall, f1   |S and T| over |S|, over |T|, and 2 |S and T| / (|S| + |T|), summed
                         over pairs; an edit counts only with its operation, event, replacement and
                         direction (the direction is part of the operation)
operation.accuracy       the operations of S, repetitions counted, are those of T
event.accuracy           among pairs whose T edits an event (neither "none" nor background only):
                         the labels named by the event edits of S, replacements too and in any
                         order, are those of T
none.false_alarm         among pairs of which nothing changed: the sentence says that something did
changed.missed           among pairs of which something changed: the sentence says that nothing did
attribution.wrong_clip   among pairs whose T adds, removes or replaces: S holds the reverse of such
                         an edit (right event, wrong clip) and not the edit
attribution.wrong_direction   the same for levels, times and backgrounds
unreadable.share         the reader cannot read the sentence; such a pair is wrong everywhere above
                         and raises no alarm
sentences.distinct_share different sentences over pairs
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, OPERATIONS, Edit, reverse

Program = frozenset[Edit]

ReadEdits = Callable[[str], Program | None]
"""A sentence -> the edits it states; None when it cannot be read."""

NOTHING: Program = frozenset({Edit("none")})

CLIP_OPERATIONS = ("add", "remove", "replace")


class Measure(NamedTuple):
    """A score as sum(values) / sum(counts) over pairs, both [n] float64."""

    values: np.ndarray
    counts: np.ndarray


class Answer(NamedTuple):
    """The true program of a pair and what was said of it; `said` is None when unreadable."""

    truth: Program
    said: Program | None


def measures(answers: Sequence[Answer]) -> dict[str, Measure]:
    """Every ratio of the module docstring but the share of distinct sentences, by dotted name."""
    said = [answer.said or frozenset() for answer in answers]
    true = [answer.truth for answer in answers]
    both = list(zip(said, true, strict=True))
    found = [len(s & t) for s, t in both]
    lengths = [len(s) + len(t) for s, t in both]
    nothing = [t == NOTHING for t in true]
    everywhere = [1] * len(answers)
    result = {
        "program.exact": _measure([s == t for s, t in both], everywhere),
        "edits.precision": _measure(found, [len(s) for s in said]),
        "edits.recall": _measure(found, [len(t) for t in true]),
        "edits.f1": _measure([2 * count for count in found], lengths),
        "operation.accuracy": _measure(
            [_operations(s) == _operations(t) for s, t in both], everywhere
        ),
        "event.accuracy": _measure(
            [_named_events(s) == _named_events(t) for s, t in both],
            [bool(_named_events(t)) for t in true],
        ),
        "none.false_alarm": _measure([bool(s) and s != NOTHING for s in said], nothing),
        "changed.missed": _measure([s == NOTHING for s in said], [not none for none in nothing]),
        "unreadable.share": _measure([answer.said is None for answer in answers], everywhere),
    }
    directed = set(OPERATIONS) - set(CLIP_OPERATIONS) - {"none"}
    for name, operations in (("wrong_clip", CLIP_OPERATIONS), ("wrong_direction", directed)):
        edits = [{edit for edit in t if edit.operation in operations} for t in true]
        result[f"attribution.{name}"] = _measure(
            [any(reverse(e) in s for e in some - s) for s, some in zip(said, edits, strict=True)],
            [bool(some) for some in edits],
        )
    return result


def counts(answers: Sequence[Answer], texts: Sequence[str]) -> dict[str, Any]:
    """What has no interval: numbers of pairs, distinct sentences, the table by operation and the
    confusion of operations (pairs of one true edit: what was said instead, once a pair)."""
    table = {}
    for operation in OPERATIONS:
        true = sum(edit.operation == operation for answer in answers for edit in answer.truth)
        said = sum(edit.operation == operation for answer in answers for edit in answer.said or ())
        right = sum(
            edit.operation == operation
            for answer in answers
            for edit in answer.truth & (answer.said or frozenset())
        )
        if true or said:
            row: dict[str, Any] = {"true": true, "said": said, "right": right}
            if true:
                row["recall"] = right / true
            if said:
                row["precision"] = right / said
            row["f1"] = 2 * right / (true + said)
            table[operation] = row
    confusion: dict[str, Counter[str]] = {}
    for answer in answers:
        if len(answer.truth) == 1:
            (edit,) = answer.truth
            confusion.setdefault(edit.operation, Counter())[_one_operation(answer.said)] += 1
    return {
        "count": len(answers),
        "event": {"count": sum(bool(_named_events(answer.truth)) for answer in answers)},
        "none": {"count": sum(answer.truth == NOTHING for answer in answers)},
        "sentences": {"distinct": len(set(texts)), "distinct_share": len(set(texts)) / len(texts)},
        "operations": table,
        "confusion": {operation: dict(row) for operation, row in confusion.items()},
    }


def swap_consistency(
    forward: Mapping[str, Program | None], backward: Mapping[str, Program | None]
) -> Measure:
    """Whether swapping the clips inverts the program that is said, pair by pair in order of id.

    `forward` holds what is said of (a, b) by id, `backward` of (b, a) by the same ids. A pair with
    a sentence that cannot be read, None, is inconsistent. Raises ValueError when ids differ.
    """
    if forward.keys() != backward.keys():
        different = sorted(forward.keys() ^ backward.keys())
        raise ValueError(f"{len(different)} ids have one order only, such as {different[0]!r}")
    consistent = []
    for id in sorted(forward):
        there, back = forward[id], backward[id]
        readable = there is not None and back is not None
        consistent.append(readable and frozenset(map(reverse, there or ())) == back)
    return _measure(consistent, [1] * len(consistent))


def _measure(values: Sequence[int], counts: Sequence[int]) -> Measure:
    """Values of pairs that do not count are cleared."""
    weights = np.array(counts, np.float64)
    return Measure(np.where(weights > 0, np.array(values, np.float64), 0.0), weights)


def _operations(program: Program) -> Counter[str]:
    return Counter(edit.operation for edit in program)


def _named_events(program: Program) -> Counter[str]:
    """Labels of the event edits of `program`, those of replacements included."""
    edits = [e for e in program if e.operation not in ("none", *BACKGROUND_OPERATIONS)]
    return Counter(label for e in edits for label in (e.event, e.replacement) if label)


def _one_operation(said: Program | None) -> str:
    if said is None:
        return "unreadable"
    return next(iter(said)).operation if len(said) == 1 else "several"
