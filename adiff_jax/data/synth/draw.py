"""Scenes, events and channels drawn from a recipe. Every number drawn is rounded, so that a
description is the same text on every machine."""

from dataclasses import replace

import numpy as np

from adiff_jax.data.synth.library import Library
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.scenes import Channel, Event, Layer, Scene


def draw_scene(
    rng: np.random.Generator, recipe: Recipe, library: Library, events: int | None = None
) -> Scene:
    """One clip with a background and `events` events (drawn by the recipe when None)."""
    if events is None:
        events = pick(rng, recipe.event_counts)
    if len(library.events) < events or not library.backgrounds:
        raise ValueError(
            f"the library has {len(library.events)} event classes and {len(library.backgrounds)} "
            f"backgrounds; a scene needs {events} and 1"
        )
    label = library.backgrounds[rng.integers(len(library.backgrounds))]
    chosen = rng.choice(len(library.events), events, replace=False) if events else ()
    return Scene(
        duration=recipe.duration,
        reference_db=uniform(rng, recipe.reference_db),
        background=draw_background(rng, label, library),
        events=tuple(draw_event(rng, library.events[i], recipe, library) for i in chosen),
    )


def draw_background(rng: np.random.Generator, label: str, library: Library) -> tuple[Layer, ...]:
    """Two recordings of `label` (one if there is but one), each from a moment of its own."""
    recordings = library.recordings(label)
    chosen = rng.choice(len(recordings), min(2, len(recordings)), replace=False)
    return tuple(Layer(label, recordings[i].name, position(rng)) for i in chosen)


def draw_event(rng: np.random.Generator, label: str, recipe: Recipe, library: Library) -> Event:
    """An event of class `label` that ends within the clip."""
    duration = uniform(rng, recipe.event_seconds)
    return Event(
        label=label,
        recording=draw_recording(rng, label, library),
        onset=uniform(rng, (0.0, recipe.duration - duration)),
        duration=duration,
        snr_db=uniform(rng, recipe.snr_db),
        position=position(rng),
    )


def draw_recording(rng: np.random.Generator, label: str, library: Library) -> str:
    """The name of one of the recordings of `label`."""
    recordings = library.recordings(label)
    return recordings[rng.integers(len(recordings))].name


def draw_channel(rng: np.random.Generator, recipe: Recipe) -> Channel:
    """What happens to one clip of a shifted pair."""
    bands = [
        uniform(rng, (-recipe.shift_equaliser_db, recipe.shift_equaliser_db)) for _ in range(4)
    ]
    return Channel(
        gain_db=uniform(rng, (-recipe.shift_gain_db, recipe.shift_gain_db)),
        equaliser_db=(bands[0], bands[1], bands[2], bands[3]),
        noise_db=uniform(rng, recipe.shift_noise_db),
        noise_seed=int(rng.integers(2**31)),
    )


def moved(rng: np.random.Generator, event: Event, recipe: Recipe) -> Event:
    """The same event with another onset."""
    return replace(event, onset=uniform(rng, (0.0, recipe.duration - event.duration)))


def two_onsets(rng: np.random.Generator, room: float, apart: float) -> tuple[float, float]:
    """Two onsets in [0, room], the second at least `apart` after the first."""
    first = uniform(rng, (0.0, room - apart))
    return first, uniform(rng, (first + apart, room))


def uniform(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """A number in `span`, to three decimals."""
    return round(float(rng.uniform(*span)), 3)


def position(rng: np.random.Generator) -> float:
    """A share of a recording in [0, 1), to four decimals."""
    return round(float(rng.uniform(0, 0.9999)), 4)


def pick(rng: np.random.Generator, weights: tuple[float, ...] | list[float]) -> int:
    """An index, as often as its weight says."""
    total = np.cumsum(weights)
    return int(np.searchsorted(total, rng.uniform(0, total[-1]), side="right"))
