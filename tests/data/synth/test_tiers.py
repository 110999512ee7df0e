"""Explanations: sounds come from the scenes, levels and colours from the audio."""

import re
from dataclasses import replace

import numpy as np
import pytest

from adiff_jax.data.schema import OPERATIONS, Edit
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.synth.edits import PairScenes
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.phrases import noun
from adiff_jax.data.synth.recipe import Recipe, Weights
from adiff_jax.data.synth.scenes import Event, Layer, Scene
from adiff_jax.data.synth.templates import Templates
from adiff_jax.data.synth.tiers import InTurn, Signal, drawn, explain, measure
from adiff_jax.data.tokenizers import Words, build_tokenizer, vocabulary_gaps

RATE = 16_000
RAIN = (Layer("rain", "rain/0", 0.0),)
BARK = Event("dog_bark", "dog_bark/0", 2.0, 3.0, 10.0, 0.0)
PAIR = PairScenes(
    Scene(10.0, -35.0, RAIN, ()), Scene(10.0, -35.0, RAIN, (BARK,)), (Edit("add", "dog_bark"),)
)


def FIRST(wordings: tuple[str, ...]) -> str:
    """The first of several wordings."""
    return wordings[0]


def tone(hertz: float, amplitude: float = 0.1) -> np.ndarray:
    time = np.arange(4 * RATE) / RATE
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def test_measures_are_those_of_known_signals() -> None:
    low, high = measure(tone(300), RATE), measure(tone(3000), RATE)
    assert low.centre == pytest.approx(300, abs=1) and high.centre == pytest.approx(3000, abs=1)
    louder = measure(tone(300, 0.2), RATE)
    assert louder.level - low.level == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert low.spread < 0.5
    gated = tone(300) * np.repeat([1.0, 0.1], 2 * RATE).astype(np.float32)
    assert measure(gated, RATE).spread == pytest.approx(20, abs=0.5)


def test_what_is_not_heard_does_not_move_the_middle_of_the_spectrum() -> None:
    rumble = tone(20, 0.5)
    assert measure(tone(1000, 0.05) + rumble, RATE).centre == pytest.approx(1000, abs=1)


def test_each_tier_says_more_than_the_one_before() -> None:
    signals = measure(tone(300), RATE), measure(tone(3000, 0.3), RATE)
    texts = [explain(tier, PAIR, signals, FIRST) for tier in (1, 2, 3)]
    lengths = [len(text.split()) for text in texts[1:]]
    assert lengths[0] < lengths[1]
    assert all("dog bark appeared" in text and "rain" in text for text in texts)
    for text in texts[1:]:
        assert "louder" in text and "brighter" in text
    assert "louder" not in texts[0]
    assert "from second 2 on" in texts[2] and "by 1" in texts[2] and "3000 Hz" in texts[2]
    assert texts[1].count(".") == 1
    assert all(text[0].isupper() for text in texts) and "It is dark in timbre" in texts[2]


def test_equal_signals_are_not_said_to_differ() -> None:
    signal = measure(tone(300), RATE)
    same = PairScenes(PAIR.first, PAIR.first, (Edit("none"),))
    text = explain(2, same, (signal, signal), FIRST)
    assert "nothing of note changed" in text and "alike in level and timbre" in text


def test_what_is_said_of_level_follows_the_audio_not_the_edit() -> None:
    loud, soft = measure(tone(300, 0.3), RATE), measure(tone(300, 0.1), RATE)
    assert "quieter" in explain(2, PAIR, (loud, soft), FIRST)
    assert "louder" in explain(2, PAIR, (soft, loud), FIRST)


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_a_source_of_a_tier_gives_its_explanation_and_prompt(tier: int) -> None:
    config = SynthPairs(Procedural(recordings_per_class=2), Recipe(), size=8, rate=8_000, tier=tier)
    source = open_source(config)
    for index in range(4):
        example, truth = source[index], source.truth(index)
        assert example.captions == truth.references and len(truth.references) == 1
        assert example.tier == truth.tier == tier
        assert example.prompt == truth.prompt != ""
        for edit in truth.edits or ():
            assert not edit.event or noun(edit.event) in truth.references[0]
    said = {text for i in range(8) for text in source.truth(i).references}
    assert said <= set(source.texts())


EVERYTHING = Weights(*[1.0] * len(OPERATIONS))


def test_a_wording_is_that_of_the_example_and_wordings_differ() -> None:
    made = Procedural(recordings_per_class=2)
    config = SynthPairs(made, Recipe(weights=Weights(*[0.0, 1.0] + [0.0] * 9)), size=40, tier=1)
    one, again = open_source(config), open_source(config)
    said = [one.truth(index).references[0] for index in range(40)]
    assert [again.truth(index).references[0] for index in reversed(range(40))] == said[::-1]
    clauses = ("appeared", "joined in", "got added", "newly hears")
    frames = ("whereas", "which means", "as a result", "put briefly")
    for wordings in (clauses, frames):
        counts = [sum(wording in text.lower() for text in said) for wording in wordings]
        assert min(counts) > 2 and sum(counts) == 40
    test = open_source(replace(config, templates="test"))
    other = [test.truth(index) for index in range(40)]
    assert not {truth.references[0] for truth in other} & set(said)
    assert [truth.edits for truth in other] == [one.truth(index).edits for index in range(40)]
    assert not [w for w in (*clauses, *frames) if any(w in t.references[0] for t in other)]


@pytest.mark.parametrize("templates", ["train", "test"])
@pytest.mark.parametrize("tier", [1, 2, 3])
def test_the_texts_of_one_pair_hold_the_words_of_all(tier: int, templates: Templates) -> None:
    made = Procedural(recordings_per_class=2)
    recipe = Recipe(duration=7.0, weights=EVERYTHING, two_edits=0.5, shift=0.5, balance=True)
    config = SynthPairs(made, recipe, size=44, rate=8_000, tier=tier, seed=3)
    config = replace(config, templates=templates)
    tokenizer = build_tokenizer(Words(), open_source(replace(config, size=1, seed=0)).texts())
    others = open_source(config)
    said = [text for index in range(44) for text in others.truth(index).references]
    assert vocabulary_gaps(tokenizer, said) == {}


def test_the_words_of_explanations_make_no_sentence_longer_than_they_are() -> None:
    config = SynthPairs(Procedural(recordings_per_class=2), Recipe(), size=1, rate=8_000, tier=3)
    corpus = list(open_source(config).texts())[1:]
    pair = open_source(replace(config, size=60))
    longest = max(len(pair.truth(index).references[0].split()) for index in range(60))
    assert max(len(text.split()) for text in corpus) <= longest


ESC10 = ("rooster", "crackling_fire", "baby_cry", "person_sneeze", "clock_tick", "chainsaw")
MOST_PIECES = {1: 56, 2: 100, 3: 230}
"""Words and punctuation of the longest explanation. GPT-2 takes 1.15 tokens for a piece of tier 1
and 1.1 for one of tier 3 at these lengths, and the buckets are of 64, 128 and 280 tokens."""


@pytest.mark.parametrize("templates", ["train", "test"])
@pytest.mark.parametrize("tier", [1, 2, 3])
def test_explanations_of_full_clips_and_two_edits_fit_their_bucket(
    tier: int, templates: Templates
) -> None:
    rng = np.random.default_rng(tier)
    longest = 0
    for _ in range(600):
        labels = [str(label) for label in rng.permutation(ESC10)]
        places = [str(label) for label in rng.permutation(["rain", "sea_waves"])]
        snrs = rng.choice([-1.0, 2.0, 8.0, 20.0], 6)
        events = [Event(x, "", 9.7, 0.0, float(s), 0.0) for x, s in zip(labels, snrs, strict=True)]
        scenes = [
            Scene(10.0, 0.0, (Layer(place, "", 0.0),), tuple(events[i : i + 3]))
            for i, place in zip((0, 3), places, strict=True)
        ]
        one = rng.choice(["background_swap", "background_louder", "later"])
        edits = (Edit("replace", labels[0], labels[3]), Edit(str(one), places[0], places[1]))
        loud, soft = Signal(0.0, 1100.0, 3.0), Signal(-70.0, 3000.0, 10.0)
        pair = PairScenes(scenes[0], scenes[1], edits)
        text = explain(tier, pair, (soft, loud), drawn(rng), templates)
        longest = max(longest, len(re.findall(r"\w+|[^\w\s]", text)))
    assert MOST_PIECES[tier] * 0.5 < longest <= MOST_PIECES[tier]


def test_wordings_in_turn_reach_all_of_every_list() -> None:
    choose, lists = InTurn(), (("a", "b"), ("c", "d", "e"))
    assert [choose(lists[i % 2]) for i in range(6)] == ["a", "c", "b", "d", "a", "e"]


def test_a_source_says_what_is_heard_in_which_clip() -> None:
    recipe = Recipe(duration=7.0, weights=EVERYTHING, two_edits=0.5, event_counts=(0.2, 0.3, 0.5))
    config = SynthPairs(Procedural(recordings_per_class=2), recipe, size=40, rate=8_000)
    source = open_source(config)
    for index in range(40):
        truth, scenes = source.truth(index), source.scenes(index)
        for clip, scene in enumerate((scenes.first, scenes.second)):
            onsets = {event.label: event.onset for event in scene.events}
            heard = truth.heard[clip]
            assert sorted(heard) == sorted(onsets)
            assert [onsets[label] for label in heard] == sorted(onsets.values())
            assert truth.backgrounds[clip] == scene.background[0].label
    tier_2 = open_source(replace(config, tier=2)).truth(7)
    assert (tier_2.heard, tier_2.backgrounds) == (
        source.truth(7).heard,
        source.truth(7).backgrounds,
    )


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(ValueError, match="SynthPairs.tier is 4"):
        open_source(SynthPairs(tier=4))
