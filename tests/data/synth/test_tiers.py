"""Explanations: sounds come from the scenes, levels and colours from the audio."""

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
from adiff_jax.data.synth.tiers import detail, few_words, measure, sentence
from adiff_jax.data.tokenizers import Words, build_tokenizer, vocabulary_gaps

RATE = 16_000
RAIN = (Layer("rain", "rain/0", 0.0),)
BARK = Event("dog_bark", "dog_bark/0", 2.0, 3.0, 10.0, 0.0)
PAIR = PairScenes(
    Scene(10.0, -35.0, RAIN, ()), Scene(10.0, -35.0, RAIN, (BARK,)), (Edit("add", "dog_bark"),)
)


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


def test_each_tier_says_more_than_the_one_before() -> None:
    signals = measure(tone(300), RATE), measure(tone(3000, 0.3), RATE)
    texts = few_words(PAIR), sentence(PAIR, signals), detail(PAIR, signals)
    lengths = [len(text.split()) for text in texts[1:]]
    assert lengths[0] < lengths[1]
    assert all("dog bark is new" in text and "rain" in text for text in texts)
    for text in texts[1:]:
        assert "louder" in text and "brighter" in text
    assert "louder" not in texts[0]
    assert "from second 2 on" in texts[2] and "by 1" in texts[2] and "3000 Hz" in texts[2]
    assert texts[1].count(".") == 1


def test_equal_signals_are_not_said_to_differ() -> None:
    signal = measure(tone(300), RATE)
    same = PairScenes(PAIR.first, PAIR.first, (Edit("none"),))
    text = sentence(same, (signal, signal))
    assert "nothing of note has changed" in text and "alike in level and timbre" in text


def test_what_is_said_of_level_follows_the_audio_not_the_edit() -> None:
    loud, soft = measure(tone(300, 0.3), RATE), measure(tone(300, 0.1), RATE)
    assert "quieter" in sentence(PAIR, (loud, soft)) and "louder" in sentence(PAIR, (soft, loud))


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


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_the_texts_of_one_pair_hold_the_words_of_all(tier: int) -> None:
    made = Procedural(recordings_per_class=2)
    recipe = Recipe(duration=7.0, weights=EVERYTHING, two_edits=0.5, shift=0.5, balance=True)
    config = SynthPairs(made, recipe, size=44, rate=8_000, tier=tier, seed=3)
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


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(ValueError, match="SynthPairs.tier is 4"):
        open_source(SynthPairs(tier=4))
