"""Edit programs: a first scene, and the second one that one or two edits make of it.

The operations, their weights and the scene statistics follow AudioDiffCaps (Takeuchi et al.,
DCASE 2023) as far as they are published. A pair is a function of its random generator alone.
"""

from collections import Counter
from dataclasses import dataclass, field, fields, replace

import numpy as np

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, OPERATIONS, Edit
from adiff_jax.data.synth.library import Library
from adiff_jax.data.synth.scenes import Channel, Event, Layer, Scene

_ON_EVENTS = ("remove", "louder", "quieter", "replace", "earlier", "later")
_MOVES = ("earlier", "later")


@dataclass(frozen=True)
class Weights:
    """How often each operation is drawn, relative to the others; 0 leaves it out."""

    none: float = 1.0
    add: float = 1.0
    remove: float = 1.0
    louder: float = 1.0
    quieter: float = 1.0
    replace: float = 1.0
    earlier: float = 0.0
    later: float = 0.0
    background_louder: float = 1.0
    background_quieter: float = 1.0
    background_swap: float = 0.0

    def drawn(self) -> tuple[str, ...]:
        """The operations of positive weight, in the order of `OPERATIONS`."""
        return tuple(name for name in OPERATIONS if getattr(self, name) > 0)


@dataclass(frozen=True)
class Recipe:
    """Everything that pairs are drawn from. Levels in dB, loudness in LUFS, times in seconds.

    `event_counts[k]` is the weight of k events in the first clip; no clip has more than the
    longest of these. `two_edits` is the share of pairs with two. `jitter` is the share of pairs
    whose unedited events begin elsewhere in the second clip though nothing was edited, `shift`
    the share whose clips each have a gain, an equaliser and a noise of their own. `balance` takes
    the first operation of consecutive pairs in turn instead of drawing it.
    """

    duration: float = 10.0
    reference_db: tuple[float, float] = (-40.0, -30.0)
    event_counts: tuple[float, ...] = (0.2, 0.5, 0.3)
    event_seconds: tuple[float, float] = (3.0, 5.0)
    snr_db: tuple[float, float] = (0.0, 15.0)
    level_step_db: float = 10.0
    least_move: float = 1.5
    weights: Weights = field(default_factory=Weights)
    two_edits: float = 0.0
    jitter: float = 0.0
    shift: float = 0.0
    shift_gain_db: float = 6.0
    shift_equaliser_db: float = 6.0
    shift_noise_db: tuple[float, float] = (-40.0, -20.0)
    balance: bool = False

    def __post_init__(self) -> None:
        drawn = self.weights.drawn()
        if not drawn or any(getattr(self.weights, f.name) < 0 for f in fields(self.weights)):
            raise ValueError("Recipe.weights must be at least 0, and one of them above 0")
        if self.most_events < 1 and set(drawn) - {"none", *BACKGROUND_OPERATIONS}:
            raise ValueError("Recipe.event_counts allows no events; add a weight for one event")
        if self.two_edits > 0 and (self.most_events < 2 or drawn == ("none",)):
            raise ValueError(
                "Recipe.two_edits needs two events (event_counts of length 3 or more) and an "
                "operation other than none"
            )
        if set(_MOVES) & set(drawn):
            if self.jitter > 0:
                raise ValueError(
                    "Recipe.jitter moves events without an edit, which contradicts the operations "
                    "earlier and later; set jitter or their weights to 0"
                )
            if self.duration - self.event_seconds[1] < self.least_move:
                raise ValueError(
                    f"Recipe.duration {self.duration} leaves no room to move an event of "
                    f"{self.event_seconds[1]} s by {self.least_move} s; lengthen it"
                )
        if self.duration < self.event_seconds[1]:
            raise ValueError("Recipe.duration is shorter than the longest of event_seconds")

    @property
    def most_events(self) -> int:
        return len(self.event_counts) - 1


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
    free = list(content.permutation(len(first.events)))
    program = _Program(content, recipe, library, first)
    for operation in operations:
        program.apply(operation, free.pop() if operation in _ON_EVENTS else None)
    first, second = program.scenes()
    if moves.uniform() < recipe.jitter:
        second = replace(
            second, events=tuple(_moved(moves, event, recipe) for event in second.events)
        )
    if channels.uniform() < recipe.shift:
        first = replace(first, channel=_draw_channel(channels, recipe))
        second = replace(second, channel=_draw_channel(channels, recipe))
    order = {name: i for i, name in enumerate(OPERATIONS)}
    return PairScenes(
        first, second, tuple(sorted(program.edits, key=lambda e: (order[e.operation], e.event)))
    )


def draw_scene(
    rng: np.random.Generator, recipe: Recipe, library: Library, events: int | None = None
) -> Scene:
    """One clip with a background and `events` events (drawn by the recipe when None)."""
    if events is None:
        events = _pick(rng, recipe.event_counts)
    if len(library.events) < events or not library.backgrounds:
        raise ValueError(
            f"the library has {len(library.events)} event classes and {len(library.backgrounds)} "
            f"backgrounds; a scene needs {events} and 1"
        )
    label = library.backgrounds[rng.integers(len(library.backgrounds))]
    chosen = rng.choice(len(library.events), events, replace=False) if events else ()
    return Scene(
        duration=recipe.duration,
        reference_db=_uniform(rng, recipe.reference_db),
        background=_draw_background(rng, label, library),
        events=tuple(_draw_event(rng, library.events[i], recipe, library) for i in chosen),
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
            replace(layer, position=_position(rng)) for layer in first.background
        )
        self.edits: list[Edit] = []

    def scenes(self) -> tuple[Scene, Scene]:
        kept = tuple(event for event in self._second if event is not None)
        return (
            replace(self._scene, events=tuple(self._first)),
            replace(self._scene, events=(*kept, *self._added), background=self._background),
        )

    def apply(self, operation: str, target: int | None) -> None:
        background = self._scene.background[0].label
        step = self._recipe.level_step_db
        match operation:
            case "none":
                self.edits.append(Edit("none"))
            case "add":
                event = _draw_event(self._rng, self._new_label(), self._recipe, self._library)
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
                self._background = _draw_background(self._rng, label, self._library)
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
                self._second[target] = replace(event, snr_db=round(event.snr_db + step, 2))
            case "quieter":
                self._second[target] = replace(event, snr_db=round(event.snr_db - step, 2))
            case "replace":
                replacement = self._new_label()
                self._second[target] = replace(
                    event,
                    label=replacement,
                    recording=_draw_recording(self._rng, replacement, self._library),
                    position=_position(self._rng),
                )
            case _:  # earlier, later
                room = self._recipe.duration - event.duration
                early, late = sorted(_two_onsets(self._rng, room, self._recipe.least_move))
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
        first = allowed[_pick(rng, [getattr(recipe.weights, name) for name in allowed])]
    if not two:
        return (first,)
    if first in BACKGROUND_OPERATIONS:  # one background, one edit of it
        allowed = [name for name in allowed if name not in BACKGROUND_OPERATIONS]
        if not allowed:
            return (first,)
    second = allowed[_pick(rng, [getattr(recipe.weights, name) for name in allowed])]
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
    return least + _pick(rng, weights)


def _draw_background(rng: np.random.Generator, label: str, library: Library) -> tuple[Layer, ...]:
    recordings = library.recordings(label)
    chosen = rng.choice(len(recordings), min(2, len(recordings)), replace=False)
    return tuple(Layer(label, recordings[i].name, _position(rng)) for i in chosen)


def _draw_event(rng: np.random.Generator, label: str, recipe: Recipe, library: Library) -> Event:
    duration = _uniform(rng, recipe.event_seconds)
    return Event(
        label=label,
        recording=_draw_recording(rng, label, library),
        onset=_uniform(rng, (0.0, recipe.duration - duration)),
        duration=duration,
        snr_db=_uniform(rng, recipe.snr_db),
        position=_position(rng),
    )


def _draw_recording(rng: np.random.Generator, label: str, library: Library) -> str:
    recordings = library.recordings(label)
    return recordings[rng.integers(len(recordings))].name


def _draw_channel(rng: np.random.Generator, recipe: Recipe) -> Channel:
    bands = [
        _uniform(rng, (-recipe.shift_equaliser_db, recipe.shift_equaliser_db)) for _ in range(4)
    ]
    return Channel(
        gain_db=_uniform(rng, (-recipe.shift_gain_db, recipe.shift_gain_db)),
        equaliser_db=(bands[0], bands[1], bands[2], bands[3]),
        noise_db=_uniform(rng, recipe.shift_noise_db),
        noise_seed=int(rng.integers(2**31)),
    )


def _moved(rng: np.random.Generator, event: Event, recipe: Recipe) -> Event:
    return replace(event, onset=_uniform(rng, (0.0, recipe.duration - event.duration)))


def _two_onsets(rng: np.random.Generator, room: float, apart: float) -> tuple[float, float]:
    first = _uniform(rng, (0.0, room - apart))
    return first, _uniform(rng, (first + apart, room))


def _uniform(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """Rounded, so that a description is the same text on every machine."""
    return round(float(rng.uniform(*span)), 3)


def _position(rng: np.random.Generator) -> float:
    return round(float(rng.uniform(0, 0.9999)), 4)


def _pick(rng: np.random.Generator, weights: tuple[float, ...] | list[float]) -> int:
    total = np.cumsum(weights)
    return int(np.searchsorted(total, rng.uniform(0, total[-1]), side="right"))
