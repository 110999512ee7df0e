"""Explanations of a pair in three tiers, after ADIFF (Deshmukh et al., ICLR 2025, section 3).

Tier 1 names the sounds, in few words. Tier 2 is one sentence on sounds, scene and signal. Tier 3
describes either clip in order of time, then how they differ and by how much. What is heard comes
from the scene graph, levels and colours are measured on the audio; the wordings are ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from adiff_jax.data.schema import Edit
from adiff_jax.data.synth.edits import PairScenes
from adiff_jax.data.synth.loudness import hop_powers
from adiff_jax.data.synth.phrases import mention, noun
from adiff_jax.data.synth.scenes import Event, Layer, Scene

_EQUAL_DB = 1.0  # differences smaller than these are not mentioned
_EQUAL_OCTAVES = 0.15
_EQUAL_RANGE_DB = 2.0
_LOUDEST_CHANGE_DB = 100  # 16 bits span 96


@dataclass(frozen=True)
class Signal:
    """What is measured on a clip: its K-weighted level in dB, the middle of its spectrum in Hz
    (half of the energy lies below), and how far its loud moments rise over its soft ones, in dB.

    The level is not gated: gating leaves out what is soft, so that a clip whose background was
    turned down would measure louder.
    """

    level: float
    centre: float
    spread: float


_SHRILL = Signal(0.0, 11_300.0, 3.0), Signal(88.0, 13_700.0, 10.0)
EXTREMES = (_SHRILL, _SHRILL[::-1])
"""Signals of two clips of which as much is said as can be, in numbers as long as they can be."""


def measure(wave: np.ndarray, rate: int) -> Signal:
    """The signal statistics of `wave` [n]."""
    powers = hop_powers(wave, rate)
    energy = np.cumsum(np.abs(np.fft.rfft(wave)) ** 2)
    middle = int(np.searchsorted(energy, energy[-1] / 2))
    tenths = powers[: len(powers) // 10 * 10].reshape(-1, 10).mean(axis=1)
    soft, loud = np.percentile(10 * np.log10(tenths + 1e-12), (10, 95))
    return Signal(
        level=float(10 * np.log10(powers.mean())),
        centre=float(np.fft.rfftfreq(len(wave), 1 / rate)[middle]),
        spread=float(loud - soft),
    )


def explain(tier: int, scenes: PairScenes, signals: tuple[Signal, ...]) -> str:
    """The explanation of a tier; `signals` of both clips are read at tier 2 and 3."""
    if tier == 1:
        return few_words(scenes)
    first, second = signals
    return (sentence if tier == 2 else detail)(scenes, (first, second))


def corpus(
    tier: int,
    operations: Sequence[str],
    events: Sequence[str],
    backgrounds: Sequence[str],
    seconds: float,
    rate: int,
) -> Iterator[str]:
    """Sentences and words that together hold every word an explanation of `tier` can have: of
    every operation, class and property, and every number that clips of `seconds` at `rate` Hz
    can measure. None is longer than an explanation of one edit."""
    low, middle = Signal(0.0, 300.0, 3.0), Signal(20.0, 1000.0, 10.0)
    high = Signal(40.0, 3000.0, 20.0)
    changes = ((low, low), (low, middle), (middle, high), (high, low))

    def scene(background: str, *heard: Event) -> Scene:
        return Scene(seconds, 0.0, (Layer(background, "", 0.0),), heard)

    for operation in operations:
        on_background = operation.startswith("background")
        labels = backgrounds if on_background else ("",) if operation == "none" else events
        for label in labels:
            edit = Edit(operation, label, label)
            before = after = label if on_background else backgrounds[0]
            if operation == "background_swap":
                after = backgrounds[backgrounds.index(label) - 1]
            for signals in changes:
                yield explain(tier, PairScenes(scene(before), scene(after), (edit,)), signals)
    for label in events:
        for snr_db in (-1.0, 2.0, 8.0, 20.0):
            event = Event(label, "", 0.0, 0.0, snr_db, 0.0)
            scenes = PairScenes(scene(backgrounds[0], event), scene(backgrounds[0]), ())
            yield explain(tier, scenes, changes[0])
    yield "and"  # between two events, or two edits
    if tier == 3:
        yield from map(str, range(round(seconds) + 1))
        yield from map(str, range(_LOUDEST_CHANGE_DB + 1))
        yield from map(str, sorted({_rounded(float(hertz)) for hertz in range(rate // 2 + 1)}))


def few_words(scenes: PairScenes) -> str:
    """Tier 1: the sounds of either clip, no audio needed."""
    return (
        f"Audio 1 features {_sounds(scenes.first)}, whereas audio 2 features "
        f"{_sounds(scenes.second)}; {_change(scenes.edits)}."
    )


def sentence(scenes: PairScenes, signals: tuple[Signal, Signal]) -> str:
    """Tier 2: sounds, scene and signal in one sentence."""
    before, after = (scene.background[0].label for scene in (scenes.first, scenes.second))
    place = (
        f"Both clips have {noun(before)} in the background"
        if before == after
        else f"The background is {noun(before)} in the first clip and {noun(after)} in the second"
    )
    return (
        f"{place}, and {_change(scenes.edits)}; as a whole the second clip is "
        f"{_joined(_comparisons(*signals))}."
    )


def detail(scenes: PairScenes, signals: tuple[Signal, Signal]) -> str:
    """Tier 3: either clip in order of time with its acoustic properties, then the difference."""
    one, two = signals
    return (
        f"{_story('first', scenes.first, one)} {_story('second', scenes.second, two)} "
        f"Comparing them, {_change(scenes.edits)}. Overall, the second clip is "
        f"{_joined(_comparisons(one, two, numbers=True))}."
    )


def _sounds(scene: Scene) -> str:
    background = f"{noun(scene.background[0].label)} in the background"
    events = [mention(event.label) for event in sorted(scene.events, key=lambda e: e.onset)]
    return f"{_joined(events)} with {background}" if events else f"only {background}"


def _change(edits: tuple[Edit, ...]) -> str:
    return _joined([_CHANGES[e.operation](noun(e.event), noun(e.replacement)) for e in edits])


_CHANGES = {
    "none": lambda event, new: "nothing of note has changed",
    "add": lambda event, new: f"the {event} is new",
    "remove": lambda event, new: f"the {event} is gone",
    "louder": lambda event, new: f"the {event} is louder",
    "quieter": lambda event, new: f"the {event} is softer",
    "replace": lambda event, new: f"the {event} has given way to the {new}",
    "earlier": lambda event, new: f"the {event} comes earlier",
    "later": lambda event, new: f"the {event} comes later",
    "background_louder": lambda event, new: f"the {event} in the background is louder",
    "background_quieter": lambda event, new: f"the {event} in the background is softer",
    "background_swap": lambda event, new: f"the background has turned from {event} to {new}",
}


def _story(which: str, scene: Scene, signal: Signal) -> str:
    events = [
        f"{mention(event.label)} {_standing(event.snr_db)} from second {event.onset:.0f} on"
        for event in sorted(scene.events, key=lambda e: e.onset)
    ]
    heard = f"Over it one hears {_joined(events)}." if events else "Nothing else stands out."
    return (
        f"The {which} clip has {noun(scene.background[0].label)} as its background. {heard} "
        f"It is {_colour(signal)} and {_evenness(signal)}."
    )


def _standing(snr_db: float) -> str:
    if snr_db < 0:
        return "softer than it"
    if snr_db < 5:
        return "blending with it"
    return "clearly above it" if snr_db < 12 else "standing out"


def _colour(signal: Signal) -> str:
    centre = signal.centre
    tone = "dark" if centre < 400 else "warm" if centre < 1200 else "bright"
    return f"{tone} in timbre, with half of its energy below {_rounded(centre)} Hz"


def _evenness(signal: Signal) -> str:
    spread = signal.spread
    return "even in level" if spread < 6 else "varied in level" if spread < 15 else "very dynamic"


def _comparisons(one: Signal, two: Signal, numbers: bool = False) -> list[str]:
    """How clip 2 measures against clip 1."""
    found = []
    louder = two.level - one.level
    if abs(louder) >= _EQUAL_DB:
        by = f" by {abs(louder):.0f} dB" if numbers else ""
        found.append(f"{'louder' if louder > 0 else 'quieter'}{by}")
    octaves = np.log2(max(two.centre, 1.0) / max(one.centre, 1.0))
    if abs(octaves) >= _EQUAL_OCTAVES:
        by = f" (middle of the spectrum at {_rounded(two.centre)} Hz)" if numbers else ""
        found.append(f"{'brighter' if octaves > 0 else 'darker'}{by}")
    spread = two.spread - one.spread
    if abs(spread) >= _EQUAL_RANGE_DB:
        found.append("more dynamic" if spread > 0 else "more even")
    return found or ["alike in level and timbre"]


def _rounded(hertz: float) -> int:
    return int(round(hertz, -2 if hertz >= 1000 else -1))


def _joined(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
