"""Explanations read back: what a sentence of a tier says is heard, and what it says has changed.

An exact inverse of `tiers` in both template sets, and of use on the half-broken sentences of a
model: nothing has to match a whole sentence. Known sounds are found first, then clauses of change
wherever they stand, then what is left is read from left to right: a sound belongs to the clip
named last, unless words that lead to the change have come since. Case, punctuation and articles
do not matter.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, Edit
from adiff_jax.data.synth.phrases import ARTICLES, nouns
from adiff_jax.data.synth.tier_templates import BACKGROUND_FORMS, CHANGES, COMPARISONS, FRAMES

Labels = frozenset[str]

_NOTHING = Edit("none")
_LEAD_WORDS = 4
_SOUND = r"<\d+>"  # a known sound, by its place in the list of them
_READ = "|"  # in place of a clause that has been read


@dataclass(frozen=True)
class Explained:
    """What an explanation says.

    `events` and `backgrounds` are the labels given to clip 1 and 2 (none where the tier lists
    none). `named` are the events named anywhere, with a clip or without, those that edits name
    among them. `edits` is None when no change can be read, or one beside "nothing has changed".
    `overall` are those of `COMPARISONS` that clip 2 as a whole is said to be.
    """

    events: tuple[Labels, Labels]
    backgrounds: tuple[Labels, Labels]
    named: Labels
    edits: frozenset[Edit] | None
    overall: frozenset[str]

    @property
    def silent(self) -> bool:
        """Whether it names no known sound at all."""
        return not (self.named or any(self.backgrounds))


@lru_cache(maxsize=1 << 15)
def read_explanation(text: str, labels: tuple[str, ...] = ()) -> Explained:
    """What `text`, an explanation of any tier, says of the known labels and `labels`.

    Raises ValueError when two of `labels` are called the same.
    """
    sounds = _sounds(labels)
    marked = sounds.mark(_plain(text))
    edits, rest = _read_changes(marked, sounds)
    events: tuple[set[str], set[str]] = set(), set()
    backgrounds: tuple[set[str], set[str]] = set(), set()
    named = {label for edit in edits for label in _named(edit)}
    clips: tuple[int, ...] = ()
    for token in _TOKENS.finditer(rest):
        match token.lastgroup:
            case "clip":
                clips = (0, 1) if token[0] == "both" else (int(token[0][-1] in "2d"),)
            case "background":
                for clip in clips:
                    backgrounds[clip].add(sounds.label(token[0]))
            case "sound":
                named.add(sounds.label(token[0]))
                for clip in clips:
                    events[clip].add(sounds.label(token[0]))
            case _:  # words that lead to the change, or the change
                clips = ()
    return Explained(
        events=(frozenset(events[0]), frozenset(events[1])),
        backgrounds=(frozenset(backgrounds[0]), frozenset(backgrounds[1])),
        named=frozenset(named),
        edits=None if not edits or (_NOTHING in edits and len(edits) > 1) else edits,
        overall=_read_overall(rest),
    )


@lru_cache(maxsize=1 << 15)
def named_sounds(text: str, labels: tuple[str, ...] = ()) -> frozenset[str]:
    """The known labels and `labels` that `text` names, in whatever role."""
    sounds = _sounds(labels)
    marks = re.findall(_SOUND, sounds.mark(_plain(text)))
    return frozenset(map(sounds.label, marks))


@dataclass(frozen=True)
class _Sounds:
    """Known labels, and the pattern of what they are called."""

    phrases: dict[str, int]
    labels: tuple[str, ...]
    pattern: re.Pattern[str]

    def mark(self, text: str) -> str:
        """`text` with "<number>" in place of every sound and its article."""
        return self.pattern.sub(lambda found: f"<{self.phrases[found[1]]}>", text)

    def label(self, text: str) -> str:
        """The label of the first mark in `text`."""
        return self.labels[int(text[text.index("<") + 1 : text.index(">")])]


@lru_cache(maxsize=64)
def _sounds(extra_labels: tuple[str, ...]) -> _Sounds:
    named = {_plain(phrase): label for phrase, label in nouns(extra_labels).items()}
    longest_first = "|".join(map(re.escape, sorted(named, key=len, reverse=True)))
    article = f"(?:(?:{'|'.join(ARTICLES)}) )?"
    return _Sounds(
        phrases={phrase: number for number, phrase in enumerate(named)},
        labels=tuple(named.values()),
        pattern=_words(f"{article}({longest_first})"),
    )


def _read_changes(marked: str, sounds: _Sounds) -> tuple[frozenset[Edit], str]:
    """The edits of all clauses, longer ones first and none over another, and the text without."""
    found = []
    for operation, pattern in _clauses():
        for match in pattern.finditer(marked):
            event, new = (
                sounds.label(match[slot]) if slot in match.groupdict() else ""
                for slot in ("event", "new")
            )
            found.append((match.start(), match.end(), Edit(operation, event, new)))
    found.sort(key=lambda clause: (clause[0] - clause[1], clause[0]))
    edits, taken = set(), [False] * len(marked)
    for start, end, edit in found:
        if not any(taken[start:end]):
            taken[start:end] = [True] * (end - start)
            edits.add(edit)
    rest = "".join(_READ if read else letter for letter, read in zip(marked, taken, strict=True))
    return frozenset(edits), rest


def _named(edit: Edit) -> tuple[str, ...]:
    """The labels of events that an edit names."""
    if edit.operation in BACKGROUND_OPERATIONS:
        return ()
    return tuple(label for label in (edit.event, edit.replacement) if label)


def _read_overall(rest: str) -> frozenset[str]:
    """The comparisons after the words that lead to them."""
    lead = _OVERALL.search(rest)
    if lead is None:
        return frozenset()
    return frozenset(match[0] for match in _COMPARISON.finditer(rest, lead.end()))


def _plain(text: str) -> str:
    """Lower-case words with single spaces, no punctuation."""
    return " ".join(re.findall(r"[\w']+", text.lower()))


def _words(pattern: str) -> re.Pattern[str]:
    """`pattern` between spaces or ends."""
    return re.compile(rf"(?<!\S){pattern}(?!\S)")


@lru_cache(maxsize=1)
def _clauses() -> tuple[tuple[str, re.Pattern[str]], ...]:
    articles = re.compile(rf"(?:\b(?:{'|'.join(ARTICLES)}) )?\{{(\w+)\}}")
    return tuple(
        (operation, _words(articles.sub(lambda slot: f"(?P<{slot[1]}>{_SOUND})", clause)))
        for clauses in CHANGES.values()
        for operation, wordings in clauses.items()
        for clause in wordings
    )


def _leads(slot: str) -> Iterator[str]:
    """The last words before {slot} in every frame that has it."""
    for texts in FRAMES.values():
        for frame in (*texts["train"], *texts["test"]):
            before, found, _ = frame.partition(slot)
            words = _plain(before.rpartition("}")[2]).split()[-_LEAD_WORDS:]
            if found:
                yield " ".join(words)


def _alternatives(texts: Iterator[str]) -> str:
    return "|".join(sorted(map(re.escape, set(texts)), key=len, reverse=True))


_BACKGROUND = "|".join(form.format(b=_SOUND) for form in BACKGROUND_FORMS)
_CLIP = "(?:audio|clip|recording) [12]|the first|the second|both"
_TOKENS = _words(
    rf"(?:(?P<lead>{_alternatives(_leads('{change}'))})|(?P<clip>{_CLIP})|"
    rf"(?P<background>{_BACKGROUND})|(?P<sound>{_SOUND})|(?P<read>\|+))"
)
_OVERALL = _words(f"(?:{_alternatives(_leads('{overall}'))})")
_COMPARISON = _words(f"(?:{_alternatives(iter(COMPARISONS))})")
