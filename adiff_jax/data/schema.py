"""What a source yields and what the loader yields: the contract of the data room.

`Example` is one pair (or clip) before tokenisation. `Edit` is one step of the program that turns
the first clip into the second; a generated sentence is read back into edits and scored on them.
The loader yields `dict[str, np.ndarray]` whose keys are fields of `adiff_jax.arrays.Batch`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

OPERATIONS = (
    "none",
    "add",
    "remove",
    "louder",
    "quieter",
    "replace",
    "earlier",
    "later",
    "background_louder",
    "background_quieter",
    "background_swap",
)
"""Every operation of an edit program; the direction of a level or time edit is in its name."""

REVERSE = {
    "none": "none",
    "add": "remove",
    "remove": "add",
    "louder": "quieter",
    "quieter": "louder",
    "replace": "replace",
    "earlier": "later",
    "later": "earlier",
    "background_louder": "background_quieter",
    "background_quieter": "background_louder",
    "background_swap": "background_swap",
}
"""The operation that takes the second clip back to the first."""

BACKGROUND_OPERATIONS = ("background_louder", "background_quieter", "background_swap")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, order=True)
class Edit:
    """One change from clip 1 to clip 2.

    `event` is the class label acted upon ("dog_bark"; for background operations the background's
    label; empty for "none"); `replacement` is what it becomes, for "replace" and
    "background_swap" only.
    """

    operation: str
    event: str = ""
    replacement: str = ""

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(
                f"Edit.operation is {self.operation!r}; it must be one of {', '.join(OPERATIONS)}"
            )


def reverse(edit: Edit) -> Edit:
    """The edit that takes the second clip back to the first."""
    if edit.operation in ("replace", "background_swap"):
        return Edit(edit.operation, event=edit.replacement, replacement=edit.event)
    return Edit(REVERSE[edit.operation], edit.event)


@dataclass(frozen=True)
class Clip:
    """What is known of one clip besides its samples.

    `captions` describe this clip alone (ADIFF's source captions), `recordings` are the original
    recordings heard in it.
    """

    name: str
    captions: tuple[str, ...] = ()
    recordings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Example:
    """One pair of clips with its references, or one clip with its labels.

    `waves` holds one or two float32 arrays [n] at `rate`. `scene` identifies the content of the
    scene: pairs with equal, non-empty `scene` are no negatives of each other. `edits` is None
    when the truth is unknown, and (Edit("none"),) when nothing changed. `recordings` names the
    original recordings heard in the clips, the units of the bootstrap. `features` [f d], one a
    clip, stand in place of `waves` where an encoder's output was cached; so do `embeddings` [k d],
    one a clip, of which each row is the embedding of another crop, the first of the centre.
    `clips` describes each clip, for sources that know more of it than its samples. `heard` and
    `backgrounds` are as in `Truth`.
    """

    id: str
    waves: tuple[np.ndarray, ...]
    rate: int
    captions: tuple[str, ...] = ()
    edits: tuple[Edit, ...] | None = None
    labels: tuple[str, ...] = ()
    scene: str = ""
    recordings: tuple[str, ...] = ()
    prompt: str = ""
    tier: int = 0
    clips: tuple[Clip, ...] = ()
    features: tuple[np.ndarray, ...] = ()
    heard: tuple[tuple[str, ...], ...] | None = None
    backgrounds: tuple[str, ...] | None = None
    embeddings: tuple[np.ndarray, ...] = ()

    @property
    def described_clips(self) -> tuple[Clip, ...]:
        """One `Clip` a wave; where the source names none they are called after the example."""
        return self.clips or tuple(
            Clip(f"{self.id}-{number}") for number in range(1, len(self.waves) + 1)
        )


@dataclass(frozen=True)
class Truth:
    """What scoring needs of an example: everything but its audio.

    `heard` holds the labels of the events in each clip, in the order in which they begin,
    `backgrounds` the label of each background; None where they are unknown.
    """

    id: str
    references: tuple[str, ...]
    edits: tuple[Edit, ...] | None
    recordings: tuple[str, ...]
    prompt: str = ""
    tier: int = 0
    heard: tuple[tuple[str, ...], ...] | None = None
    backgrounds: tuple[str, ...] | None = None


@runtime_checkable
class Source(Protocol):
    """Random access to examples. Picklable: data workers receive a copy."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """Example `index`; the same on every machine and process."""
        ...

    def truth(self, index: int) -> Truth:
        """References and edits of example `index` without its audio."""
        ...

    def texts(self) -> Iterator[str]:
        """Every caption (or, for made sources, enough of them) to build a vocabulary from."""
        ...


@dataclass(frozen=True)
class Coverage:
    """How much of what a table lists is used: its rows, and the clips that they name."""

    rows: int
    rows_listed: int
    clips: int
    clips_listed: int

    def __str__(self) -> str:
        return (
            f"{self.clips} of {self.clips_listed} clips, {self.rows} of {self.rows_listed} rows "
            f"({self.rows / max(1, self.rows_listed):.1%})"
        )


def coverage_of(source: Source) -> Coverage | None:
    """What a source says of itself in `coverage`: how much is left of data that others published
    once excluded clips are out. None for sources that nothing can be missing from."""
    coverage = getattr(source, "coverage", None)
    return coverage if isinstance(coverage, Coverage) else None


@runtime_checkable
class Captioned(Source, Protocol):
    """A source of pairs with sentences about either clip alone."""

    def clip_captions(self, index: int) -> tuple[tuple[str, ...], ...]:
        """The sentences about each clip of example `index`; no audio is read."""
        ...


@runtime_checkable
class Foretelling(Source, Protocol):
    """A source that must make audio for its references, but not to say how long they can be."""

    def longest_texts(self, index: int) -> tuple[str, ...]:
        """Texts of which one is as long as any reference of example `index`; no audio is made."""
        ...


@runtime_checkable
class Traceable(Source, Protocol):
    """A source that must make audio for its references, but not to say what it is made of."""

    def recordings(self, index: int) -> tuple[str, ...]:
        """`Truth.recordings` of example `index`; no audio is made."""
        ...


def recordings_of(source: Source, index: int) -> tuple[str, ...]:
    """The original recordings heard in example `index`; no audio is made where none need be."""
    if isinstance(source, Traceable):
        return source.recordings(index)
    return source.truth(index).recordings


@runtime_checkable
class Described(Source, Protocol):
    """A source that tells what an example holds without reading its audio."""

    def described(self, index: int) -> Example:
        """Example `index` with its `clips` but without `waves`; equal names are equal clips."""
        ...


def described(source: Source, index: int) -> Example:
    """Example `index` with its `clips` but without `waves`; its audio is read from sources that
    are not `Described`."""
    if isinstance(source, Described):
        return source.described(index)
    example = source[index]
    return replace(example, waves=(), rate=0, clips=example.described_clips)


@runtime_checkable
class Recurring(Described, Protocol):
    """A source whose clips recur under their names: tables are built of it clip by clip."""

    def wave(self, name: str) -> np.ndarray:
        """The clip of this name, float32 [n] at the rate of the examples."""
        ...


@runtime_checkable
class Labelled(Source, Protocol):
    """A source of labelled clips; `classes` is the order of tagging targets."""

    @property
    def classes(self) -> tuple[str, ...]: ...


@runtime_checkable
class TextEncoder(Protocol):
    """What transforms need of a tokenizer."""

    @property
    def end_id(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without start or end tokens."""
        ...
