"""Edit programs: a first scene, and the second one that one or two edits make of it.

No two edits of a program touch one event or one class, and the background is edited at most once.
A pair is a function of its random generator alone.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, OPERATIONS, Edit
from adiff_jax.data.synth.draw import (
    draw_background,
    draw_channel,
    draw_event,
    draw_recording,
    draw_scene,
    moved,
    pick,
    position,
    two_onsets,
)
from adiff_jax.data.synth.library import Library
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.scenes import Event, Scene

_ON_EVENTS = ("remove", "louder", "quieter", "replace", "earlier", "later")


@dataclass(frozen=True)
class PairScenes:
    """Two scenes and the program between them, sorted by operation and label."""

    first: Scene
    second: Scene
    edits: tuple[Edit, ...]


def draw_pair(
    rng: np.random.Generator, recipe: Recipe, library: Library, first_operation: str | None = None
) -> PairScenes:
    """A pair; `first_operation` fixes the first operation instead of drawing it.

    Scenes, jitter and shift draw from streams of their own, so that recipes which differ only in
    `jitter` or `shift` give the same scenes up to onsets or channels.
    """
    content, moves, channels = rng.spawn(3)
    operations = _draw_operations(content, recipe, first_operation)
    first = draw_scene(content, recipe, library, _draw_count(content, recipe, operations))
    free = content.permutation(len(first.events)).tolist()
    program = _Program(content, recipe, library, first)
    for operation in operations:
        program.apply(operation, free.pop() if operation in _ON_EVENTS else None)
    first, second = program.scenes()
    if moves.uniform() < recipe.jitter:
        second = replace(
            second, events=tuple(moved(moves, event, recipe) for event in second.events)
        )
    if channels.uniform() < recipe.shift:
        first = replace(first, channel=draw_channel(channels, recipe))
        second = replace(second, channel=draw_channel(channels, recipe))
    order = {name: i for i, name in enumerate(OPERATIONS)}
    return PairScenes(
        first, second, tuple(sorted(program.edits, key=lambda e: (order[e.operation], e.event)))
    )


class _Program:
    """The second scene as edits are applied to it, one after another."""

    def __init__(
        self, rng: np.random.Generator, recipe: Recipe, library: Library, first: Scene
    ) -> None:
        self._rng, self._recipe, self._library = rng, recipe, library
        self._first = list(first.events)
        self._second: list[Event | None] = list(first.events)
        self._added: list[Event] = []
        self._used = {event.label for event in first.events}
        self._scene = first
        # the same two recordings, heard from another moment on
        self._background = tuple(
            replace(layer, position=position(rng)) for layer in first.background
        )
        self.edits: list[Edit] = []

    def scenes(self) -> tuple[Scene, Scene]:
        """Both clips as they are now."""
        kept = tuple(event for event in self._second if event is not None)
        return (
            replace(self._scene, events=tuple(self._first)),
            replace(self._scene, events=(*kept, *self._added), background=self._background),
        )

    def apply(self, operation: str, target: int | None) -> None:
        """Apply one operation, to event number `target` if it acts on an event."""
        background = self._scene.background[0].label
        step = self._recipe.level_step_db
        match operation:
            case "none":
                self.edits.append(Edit("none"))
            case "add":
                event = draw_event(self._rng, self._new_label(), self._recipe, self._library)
                self._added.append(event)
                self.edits.append(Edit("add", event.label))
            case "background_louder" | "background_quieter":
                level = step if operation == "background_louder" else -step
                self._background = tuple(replace(b, level_db=level) for b in self._background)
                self.edits.append(Edit(operation, background))
            case "background_swap":
                others = [label for label in self._library.backgrounds if label != background]
                if not others:
                    raise ValueError("background_swap needs a library with two backgrounds")
                label = others[self._rng.integers(len(others))]
                self._background = draw_background(self._rng, label, self._library)
                self.edits.append(Edit(operation, background, label))
            case _:
                assert target is not None
                self._edit_event(operation, target, step)

    def _edit_event(self, operation: str, target: int, step: float) -> None:
        event = self._first[target]
        replacement = ""
        match operation:
            case "remove":
                self._second[target] = None
            case "louder":
                self._second[target] = replace(event, snr_db=round(event.snr_db + step, 3))
            case "quieter":
                self._second[target] = replace(event, snr_db=round(event.snr_db - step, 3))
            case "replace":
                replacement = self._new_label()
                self._second[target] = replace(
                    event,
                    label=replacement,
                    recording=draw_recording(self._rng, replacement, self._library),
                    position=position(self._rng),
                )
            case _:  # earlier, later
                room = self._recipe.duration - event.duration
                early, late = sorted(two_onsets(self._rng, room, self._recipe.least_move))
                before, after = (late, early) if operation == "earlier" else (early, late)
                self._first[target] = replace(event, onset=before)
                self._second[target] = replace(event, onset=after)
        self.edits.append(Edit(operation, event.label, replacement))

    def _new_label(self) -> str:
        """A class that neither clip has had, so that no two edits touch one class."""
        free = [label for label in self._library.events if label not in self._used]
        if not free:
            raise ValueError(
                f"the library's {len(self._library.events)} event classes are too few for the "
                "recipe's events and edits; add classes or allow fewer events"
            )
        label = free[self._rng.integers(len(free))]
        self._used.add(label)
        return label


def _draw_operations(
    rng: np.random.Generator, recipe: Recipe, first: str | None
) -> tuple[str, ...]:
    drawn = recipe.weights.drawn()
    two = rng.uniform() < recipe.two_edits
    allowed = [name for name in drawn if not two or name != "none"]
    if first is None or first not in allowed:
        first = allowed[pick(rng, [getattr(recipe.weights, name) for name in allowed])]
    if not two:
        return (first,)
    if first in BACKGROUND_OPERATIONS:  # one background, one edit of it
        allowed = [name for name in allowed if name not in BACKGROUND_OPERATIONS]
    second = allowed[pick(rng, [getattr(recipe.weights, name) for name in allowed])]
    return (first, second)


def _draw_count(rng: np.random.Generator, recipe: Recipe, operations: tuple[str, ...]) -> int:
    """How many events clip 1 has: enough to act upon, and clip 2 has no more than allowed."""
    counts = Counter(operations)
    least = sum(counts[name] for name in _ON_EVENTS)
    most = recipe.most_events - max(0, counts["add"] - counts["remove"])
    weights = list(recipe.event_counts[least : most + 1])
    if sum(weights) == 0:
        raise ValueError(
            f"Recipe.event_counts gives no weight to {least}..{most} events, which the operations "
            f"{' and '.join(operations)} need"
        )
    return least + pick(rng, weights)
