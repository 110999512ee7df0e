"""What the classes are called in a sentence, and back.

Every known label has a noun phrase of its own; an unknown one is written with spaces for its
underscores. A phrase never contains the word "background", which marks background edits.
"""

from collections.abc import Iterable, Mapping

# label: (article when first mentioned, noun phrase)
PHRASES: Mapping[str, tuple[str, str]] = {
    # ESC-50's classes, the four of ESC-10 under their ESC-10 names
    "dog_bark": ("a", "dog bark"),
    "rooster": ("a", "rooster crow"),
    "pig": ("a", "pig grunt"),
    "cow": ("a", "cow moo"),
    "frog": ("a", "frog croak"),
    "cat": ("a", "cat meow"),
    "hen": ("a", "hen cluck"),
    "insects": ("an", "insect buzz"),
    "sheep": ("a", "sheep bleat"),
    "crow": ("a", "crow call"),
    "rain": ("some", "rain"),
    "sea_waves": ("some", "sea waves"),
    "fire_crackling": ("a", "crackling fire"),
    "crickets": ("some", "crickets"),
    "chirping_birds": ("some", "birdsong"),
    "water_drops": ("some", "water drops"),
    "wind": ("some", "wind"),
    "pouring_water": ("some", "pouring water"),
    "toilet_flush": ("a", "toilet flush"),
    "thunderstorm": ("a", "thunderstorm"),
    "baby_cry": ("a", "crying baby"),
    "person_sneeze": ("a", "sneeze"),
    "clapping": ("some", "clapping"),
    "breathing": ("some", "breathing"),
    "coughing": ("a", "cough"),
    "footsteps": ("some", "footsteps"),
    "laughing": ("some", "laughter"),
    "brushing_teeth": ("a", "toothbrush"),
    "snoring": ("some", "snoring"),
    "drinking_sipping": ("some", "sipping"),
    "door_wood_knock": ("a", "door knock"),
    "mouse_click": ("a", "mouse click"),
    "keyboard_typing": ("some", "typing"),
    "door_wood_creaks": ("a", "door creak"),
    "can_opening": ("a", "can opening"),
    "washing_machine": ("a", "washing machine"),
    "vacuum_cleaner": ("a", "vacuum cleaner"),
    "clock_alarm": ("an", "alarm clock"),
    "clock_tick": ("a", "clock tick"),
    "glass_breaking": ("some", "breaking glass"),
    "helicopter": ("a", "helicopter"),
    "chainsaw": ("a", "chainsaw"),
    "siren": ("a", "siren"),
    "car_horn": ("a", "car horn"),
    "engine": ("an", "engine"),
    "train": ("a", "train"),
    "church_bells": ("some", "church bells"),
    "airplane": ("an", "airplane"),
    "fireworks": ("some", "fireworks"),
    "hand_saw": ("a", "hand saw"),
    # made by `generators`, where ESC-50 has no such class
    "traffic": ("some", "traffic"),
    "bell": ("a", "bell"),
    "thunder": ("some", "thunder"),
    "bird_chirps": ("some", "bird chirps"),
}

ARTICLES = ("a", "an", "the", "some")


def noun(label: str) -> str:
    """ "dog bark", to follow "the"."""
    return PHRASES[label][1] if label in PHRASES else label.replace("_", " ")


def mention(label: str) -> str:
    """ "a dog bark": the class as something new."""
    if label in PHRASES:
        return " ".join(PHRASES[label])
    return f"{'an' if label[:1] in 'aeiou' else 'a'} {noun(label)}"


def nouns(extra_labels: Iterable[str] = ()) -> dict[str, str]:
    """Noun phrase to label, for `extra_labels` and all known labels.

    Where one of each shares a phrase, as "cough" does with "coughing" of ESC-50, it means the extra
    one: the other does not occur in those recordings. Raises ValueError when two extra labels
    share a phrase: sentences could not be read back.
    """
    found: dict[str, str] = {}
    for label in extra_labels:
        phrase = noun(label)
        if found.setdefault(phrase, label) != label:
            raise ValueError(
                f"the labels {found[phrase]!r} and {label!r} are both called {phrase!r}; "
                "rename one of the classes"
            )
    return {noun(label): label for label in PHRASES} | found
