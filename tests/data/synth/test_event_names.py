"""Events of any label set that a sentence names."""

import pytest

from adiff_jax.data.synth.event_names import named_events
from adiff_jax.data.synth.phrases import PHRASES, mention, noun

AUDIOSET = (
    "Speech",
    "Male speech, man speaking",
    "Bark",
    "Vehicle horn, car horn, honking",
    "Inside, small room",
    "Inside, large room or hall",
    "Bell",
    "Church bell",
)


@pytest.mark.parametrize("label", PHRASES)
def test_every_known_label_is_found_by_its_noun_phrase_and_no_other(label: str):
    labels = tuple(PHRASES)
    assert named_events(f"First {mention(label)}, then silence.", labels) == (label,)
    assert named_events(f"THE {noun(label).upper()}!", labels) == (label,)


def test_events_come_in_the_order_in_which_they_are_named_each_once():
    labels = ("bell", "siren", "dog_bark", "coffee_mill")
    text = "A siren, the coffee mill; a dog bark, and the siren again."
    assert named_events(text, labels) == ("siren", "coffee_mill", "dog_bark")


def test_a_name_within_a_word_or_a_longer_name_is_not_named():
    labels = ("train", "bell", "church_bells")
    assert named_events("training with bellows", labels) == ()
    assert named_events("some church bells", labels) == ("church_bells",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a man speaking over honking", (AUDIOSET[1], AUDIOSET[3])),
        ("male speech, man speaking", (AUDIOSET[1],)),
        ("speech inside", ("Speech",)),  # two labels are called inside
        ("a church bell", ("Church bell",)),
        ("a car horn inside a small room", (AUDIOSET[3], AUDIOSET[4])),
        ("", ()),
    ],
)
def test_labels_with_commas_are_called_by_any_of_their_names(text: str, found: tuple[str, ...]):
    assert named_events(text, AUDIOSET) == found


def test_without_labels_nothing_is_named():
    assert named_events("a bell", ()) == ()
