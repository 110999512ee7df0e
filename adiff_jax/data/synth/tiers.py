"""Explanations of a pair in three tiers, after ADIFF (Deshmukh et al., ICLR 2025, section 3).

Tier 1 names the sounds, in few words. Tier 2 is one sentence on scene, change and signal. Tier 3
describes either clip in order of time, then how they differ and by how much. What is heard comes
from the scene graph, levels and colours are measured on the audio; the wordings are ours, in
`tier_templates`, and `tier_reader` reads them back.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from adiff_jax.data.schema import Edit
from adiff_jax.data.synth.edits import PairScenes
from adiff_jax.data.synth.loudness import hop_powers
from adiff_jax.data.synth.phrases import mention, noun
from adiff_jax.data.synth.scenes import Event, Layer, Scene
from adiff_jax.data.synth.templates import Templates
from adiff_jax.data.synth.tier_templates import (
    ALIKE,
    CHANGES,
    EVENTS,
    FRAMES,
    HEARD,
    JOINERS,
    NO_SOUNDS,
    NOT_HEARD,
    OTHER_PLACE,
    SAME_PLACE,
    SOUNDS,
    STANDINGS,
    STORIES,
    Texts,
)

_EQUAL_DB = 1.0  # differences smaller than these are not mentioned
_EQUAL_OCTAVES = 0.15
_EQUAL_RANGE_DB = 2.0
_RUMBLE_HZ = 50.0  # what lies lower, wind and handling, hides the rest of a spectrum unheard
_LOUDEST_CHANGE_DB = 100  # 16 bits span 96


@dataclass(frozen=True)
class Signal:
    """What is measured on a clip: its K-weighted level in dB, the middle of its spectrum in Hz
    (half of the energy from 50 Hz up lies below), and how far its loud moments rise over its soft
    ones, in dB.

    The level is not gated: gating leaves out what is soft, so that a clip whose background was
    turned down would measure louder.
    """

    level: float
    centre: float
    spread: float


_SHRILL = Signal(0.0, 11_300.0, 10.0), Signal(88.0, 13_700.0, 14.0)
EXTREMES = (_SHRILL, _SHRILL[::-1])
"""Signals of two clips of which as much is said as can be, in numbers as long as they can be."""


def measure(wave: np.ndarray, rate: int) -> Signal:
    """The signal statistics of `wave` [n]."""
    powers = hop_powers(wave, rate)
    hertz = np.fft.rfftfreq(len(wave), 1 / rate)
    heard = hertz >= _RUMBLE_HZ
    energy = np.cumsum(np.abs(np.fft.rfft(wave)[heard]) ** 2)
    middle = int(np.searchsorted(energy, energy[-1] / 2))
    tenths = powers[: len(powers) // 10 * 10].reshape(-1, 10).mean(axis=1)
    soft, loud = np.percentile(10 * np.log10(tenths + 1e-12), (10, 95))
    return Signal(
        level=float(10 * np.log10(powers.mean())),
        centre=float(hertz[heard][middle]),
        spread=float(loud - soft),
    )


Choose = Callable[[tuple[str, ...]], str]
"""Which of several wordings is taken."""


def drawn(rng: np.random.Generator) -> Choose:
    """Each wording as likely as the others."""
    return lambda wordings: wordings[rng.integers(len(wordings))]


@dataclass
class InTurn:
    """The wordings of a list one after another, every list by itself."""

    _taken: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def __call__(self, wordings: tuple[str, ...]) -> str:
        self._taken[wordings] += 1
        return wordings[(self._taken[wordings] - 1) % len(wordings)]


def explain(
    tier: int,
    scenes: PairScenes,
    signals: tuple[Signal, ...],
    choose: Choose,
    templates: Templates = "train",
) -> str:
    """The explanation of a tier, in wordings of `templates` that `choose` takes; the `signals` of
    both clips are read at tier 2 and 3."""
    writer = _Writer(choose, templates)
    if tier == 1:
        text = writer.few_words(scenes)
    else:
        first, second = signals
        text = (writer.sentence if tier == 2 else writer.detail)(scenes, (first, second))
    return re.sub(r"(?:^|(?<=\. ))[a-z]", lambda letter: letter[0].upper(), text)


def corpus(
    tier: int,
    operations: Sequence[str],
    events: Sequence[str],
    backgrounds: Sequence[str],
    seconds: float,
    rate: int,
    templates: Templates = "train",
) -> Iterator[str]:
    """Sentences and words that together hold every word an explanation of `tier` can have: of
    every wording, operation, class and property, and every number that clips of `seconds` at `rate`
    Hz can measure. None is longer than an explanation of one edit."""
    low, middle = Signal(0.0, 300.0, 3.0), Signal(20.0, 1000.0, 10.0)
    high = Signal(40.0, 3000.0, 20.0)
    changes = ((low, low), (low, middle), (middle, high), (high, low))
    in_turn = InTurn()

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
            scenes = PairScenes(scene(before), scene(after), (edit,))
            for signals in changes:  # and as many clauses
                yield explain(tier, scenes, signals, in_turn, templates)
    for i, label in enumerate((*events, *backgrounds)):
        # Backgrounds that no operation touches are still to be named, and alone.
        place = scene(backgrounds[i % len(backgrounds)])
        other = scene(backgrounds[i % len(backgrounds) - 1])
        for snr_db in (-1.0, 2.0, 8.0, 20.0):
            heard = (Event(label, "", 0.0, 0.0, snr_db, 0.0),) if label in events else ()
            scenes = PairScenes(scene(place.background[0].label, *heard), other, ())
            yield explain(tier, scenes, changes[1], in_turn, templates)
    yield f"and{JOINERS[templates]}"  # between two events, or two edits
    if tier == 3:
        yield from map(str, range(round(seconds) + 1))
        yield from map(str, range(_LOUDEST_CHANGE_DB + 1))
        yield from map(str, sorted({_rounded(float(hertz)) for hertz in range(rate // 2 + 1)}))


@dataclass(frozen=True)
class _Writer:
    """Words one explanation."""

    choose: Choose
    templates: Templates

    def few_words(self, scenes: PairScenes) -> str:
        """Tier 1: the sounds of either clip, no audio needed."""
        return self._take(FRAMES[1]).format(
            first=self._sounds(scenes.first),
            second=self._sounds(scenes.second),
            change=self._change(scenes.edits),
        )

    def sentence(self, scenes: PairScenes, signals: tuple[Signal, Signal]) -> str:
        """Tier 2: scene, change and signal in one sentence."""
        before, after = (_background(scene) for scene in (scenes.first, scenes.second))
        place = (
            self._take(SAME_PLACE).format(b=before)
            if before == after
            else self._take(OTHER_PLACE).format(b1=before, b2=after)
        )
        return self._take(FRAMES[2]).format(
            place=place, change=self._change(scenes.edits), overall=_joined(_comparisons(*signals))
        )

    def detail(self, scenes: PairScenes, signals: tuple[Signal, Signal]) -> str:
        """Tier 3: either clip in order of time with its properties, then the difference."""
        one, two = signals
        stories = f"{self._story(1, scenes.first, one)} {self._story(2, scenes.second, two)}"
        return self._take(FRAMES[3]).format(
            stories=stories,
            change=self._change(scenes.edits),
            overall=_joined(_comparisons(one, two, numbers=True)),
        )

    def _take(self, texts: Texts) -> str:
        return self.choose(texts[self.templates])

    def _sounds(self, scene: Scene) -> str:
        events = [noun(event.label) for event in in_order(scene)]
        texts = SOUNDS if events else NO_SOUNDS
        return self._take(texts).format(events=_joined(events), b=_background(scene))

    def _change(self, edits: tuple[Edit, ...]) -> str:
        clauses = [
            self.choose(CHANGES[self.templates][edit.operation]).format(
                event=noun(edit.event), new=noun(edit.replacement)
            )
            for edit in edits
        ]
        return JOINERS[self.templates].join(clauses)

    def _story(self, number: int, scene: Scene, signal: Signal) -> str:
        how = self._take(EVENTS)
        events = [
            how.format(
                event=mention(event.label),
                standing=_standing(event.snr_db),
                onset=f"{event.onset:.0f}",
            )
            for event in in_order(scene)
        ]
        heard = self._take(HEARD if events else NOT_HEARD).format(events=_joined(events))
        return self._take(STORIES).format(
            n=number,
            nth=("first", "second")[number - 1],
            b=_background(scene),
            heard=heard,
            colour=_colour(signal),
            evenness=_evenness(signal),
        )


def in_order(scene: Scene) -> list[Event]:
    """The events of a clip as they begin."""
    return sorted(scene.events, key=lambda event: event.onset)


def _background(scene: Scene) -> str:
    return noun(scene.background[0].label)


def _standing(snr_db: float) -> str:
    return STANDINGS[sum(snr_db >= limit for limit in (0, 5, 12))]


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
    return found or [ALIKE]


def _rounded(hertz: float) -> int:
    return int(round(hertz, -2 if hertz >= 1000 else -1))


def _joined(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
