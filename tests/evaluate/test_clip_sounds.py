"""Captions of single clips, scored by the sounds they name."""

import pytest

from adiff_jax.data.schema import Truth
from adiff_jax.data.synth.clip_captions import describe
from adiff_jax.data.synth.library import Procedural, open_library
from adiff_jax.data.synth.scenes import Event, Layer, Scene
from adiff_jax.data.synth.tier_reader import named_sounds
from adiff_jax.evaluate.clip_sounds import can_judge, measures


def truth(heard: tuple[str, ...], background: str = "rain") -> Truth:
    return Truth("x", (), None, (), heard=(heard,), backgrounds=(background,))


def score(name: str, *rows: tuple[str, Truth]) -> float:
    texts, truths = zip(*rows, strict=True)
    values, counts = measures(texts, truths, named_sounds)[name]
    return values.sum() / counts.sum()


DOG_CAT = truth(("dog_bark", "cat"))


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a dog bark, then a cat meow over rain", "events.f1", 1.0),
        ("a dog bark over rain", "events.f1", 2 / 3),
        ("a dog bark over rain", "events.recall", 0.5),
        ("a dog bark over rain", "events.precision", 1.0),
        ("a dog bark and a rooster crow over rain", "events.precision", 0.5),
        ("a dog bark and a rooster crow over rain", "hallucination.share", 0.5),
        ("a rooster crow over rain", "omission.share", 1.0),
        ("only rain can be heard", "events.f1", 0.0),
        ("a dog bark over rain", "background.accuracy", 1.0),
        ("a dog bark over wind", "background.accuracy", 0.0),
        ("a dog bark", "background.accuracy", 0.0),
        ("who knows", "unreadable.sounds", 1.0),
    ],
)
def test_scores_by_hand(text: str, name: str, expected: float) -> None:
    other = ("", truth((), "wind"))  # wind is a background of this data set
    rows = ((text, DOG_CAT),) if name != "background.accuracy" else ((text, DOG_CAT), other)
    found = score(name, *rows)
    assert found == pytest.approx(expected if len(rows) == 1 else expected / 2)


def test_a_background_of_other_clips_is_no_event_unless_it_is_one_here() -> None:
    windy = truth(("wind", "cat"))
    other = ("", truth((), "wind"))
    assert score("events.recall", ("wind and a cat meow over rain", windy), other) == 1.0
    assert score("events.precision", ("wind and a cat meow over rain", DOG_CAT), other) == 1.0


def test_a_clip_without_events_has_no_f1_and_can_be_hallucinated_upon() -> None:
    empty = truth(())
    assert score("events.f1", ("a dog bark over rain", DOG_CAT), ("rain", empty)) == 2 / 3
    assert score("hallucination.share", ("a dog bark over rain", empty)) == 1.0


def test_single_clips_of_which_all_is_known_are_judged() -> None:
    assert can_judge(DOG_CAT)
    assert not can_judge(Truth("x", ("a",), None, ()))
    assert not can_judge(Truth("x", (), None, (), heard=((), ()), backgrounds=("a", "b")))


@pytest.mark.parametrize("templates", ["train", "test"])
def test_every_caption_of_the_grammar_is_read_without_a_mistake(templates: str) -> None:
    library = open_library(Procedural(), 16_000)
    events = [Event(label, "", 0.1 * n, 0.0, 0.0, 0.0) for n, label in enumerate(library.events)]
    for background in library.backgrounds:
        for heard in (events[:0], events[:1], events[:3], events):
            scene = Scene(1.0, 0.0, (Layer(background, "", 0.0),), tuple(heard))
            for text in describe(scene, templates):
                assert named_sounds(text) == {background, *(event.label for event in heard)}, text
