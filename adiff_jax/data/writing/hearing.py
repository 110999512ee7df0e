"""What a caption says is heard: kinds of sounds, how they go, in which order.

A small word list of ours, for the rule-based writer. It reads words, not sentences: what is not in
the list is not found, and "no dog" is a dog.
"""

import re
from dataclasses import dataclass

_KINDS = {
    "people": "adult announcer applaud applause audience babies baby boy burp cheer child "
    "children chuckle clap conversation converse cough crowd cry crying female giggle girl guy "
    "hiccup human infant kid lady laugh male man men murmur narrate narrator people person scream "
    "shout sigh sing singer singing sneeze snore sob speak speaker speech talk toddler voice "
    "whimper whisper woman women yell",
    "animal sounds": "animal baa baaing bark bee bird bleat cat cattle chicken chirp coo cow "
    "cricket croak crow dog duck fly frog geese goat goose growl hoot horse howl insect meow moo "
    "neigh oink owl pig pigeon puppy purr quack rooster sheep snort tweet",
    "engines": "accelerate aircraft airplane automobile boat bus car engine helicopter highway "
    "idle idling jet locomotive motor motorboat motorcycle plane propeller race rev revs revved "
    "revving tractor traffic train truck vehicle",
    "signal tones": "alarm beep beeping bell buzzer chime clang ding honk horn phone ring siren "
    "telephone whistle",
    "water": "bubble creek drain drip dripping faucet flush gurgle ocean pour rain raindrop river "
    "sea shower splash spray stream surf tap toilet trickle water waterfall wave",
    "wind or thunder": "breeze gust lightning storm thunder thunderstorm wind windy",
    "music": "band drum drumming flute guitar instrument keyboardist melody music orchestra piano "
    "song string synthesizer trumpet tune violin",
    "machinery": "appliance blender camera chainsaw clock computer drill dryer fan hammer "
    "keyboard lawnmower machine machinery mechanical microwave mower printer sander saw sewing "
    "tick tool type typewriter vacuum",
    "impacts": "bang beat bounce clatter clink collide crash crunch cutlery dish dishes door "
    "footstep hit hop knock pop rattle slam slap smash squeak step stomp tap tapping thud thump "
    "walk",
    "blasts": "blast cannon explode explosion fireworks gun gunfire gunshot shot",
    "rustling": "crackle creak crinkle crumple fire fry leaf leaves paper rub rustle scrape "
    "scratch scratching sizzle static",
    "noise": "buzz buzzing drone hiss hum humming noise whine whir whirring",
}
_MANNERS = {
    "steady": "constant constantly continuous continuously steady steadily ongoing nonstop",
    "broken up": "intermittent intermittently occasional occasionally periodic periodically "
    "repeated repeatedly several sporadic sporadically twice",
    "loud": "blare blaring deafening loud loudly louder noisy noisily powerful roar roars",
    "soft": "calm faint faintly gentle gently lightly quiet quietly slight slightly soft softly",
    "far off": "afar away background distance distant far muffled",
    "close by": "close closely near nearby foreground",
    "quick": "fast quick quickly rapid rapidly",
    "slow": "slow slowly",
    "high in pitch": "high-pitched shrill squeal squealing",
    "low in pitch": "deep low-pitched rumble rumbling",
}
_IN_TURN = re.compile(r"\b(then|followed by|before|after|afterwards|finally|later|until)\b", re.I)
_AT_ONCE = re.compile(
    r"\b(while|as(?! it| they)|over|during|amid|alongside|in the background)\b", re.I
)


def _index(lists: dict[str, str]) -> dict[str, str]:
    """The name that each form of each word stands for."""
    return {form: name for name, stems in lists.items() for form in _forms(stems.split())}


def _forms(stems: list[str]) -> set[str]:
    """The words and what English makes of them: barks, barked, barking, crunches, dripping."""
    forms = set(stems)
    for stem in stems:
        without_e = stem[:-1] if stem.endswith("e") else stem
        forms |= {stem + "s", stem + "es", without_e + "ed", without_e + "ing"}
        forms |= {stem + stem[-1] + "ed", stem + stem[-1] + "ing"}
    return forms


_KIND_OF = _index(_KINDS)
_MANNER_OF = _index(_MANNERS)


@dataclass(frozen=True)
class Hearing:
    """What is heard, from one caption: kinds in order of mention, manners, and whether the sounds
    come "in turn", "at once" or as "one" impression."""

    caption: str
    kinds: tuple[str, ...]
    manners: tuple[str, ...]
    order: str


def hear(caption: str) -> Hearing:
    """Read one caption."""
    return Hearing(
        caption=_quotable(caption),
        kinds=_found(caption, _KIND_OF),
        manners=_found(caption, _MANNER_OF),
        order="in turn" if _IN_TURN.search(caption) else _together(caption),
    )


def _together(caption: str) -> str:
    return "at once" if _AT_ONCE.search(caption) else "one"


def _found(caption: str, name_of: dict[str, str]) -> tuple[str, ...]:
    """The names whose words occur, by first occurrence."""
    words = re.findall(r"[a-z]+(?:-[a-z]+)*", caption.lower())
    return tuple(dict.fromkeys(name_of[word] for word in words if word in name_of))


def _quotable(caption: str) -> str:
    """A caption as it may stand within a sentence, in brackets."""
    text = " ".join(re.sub(r"[()\[\]]", " ", caption).split()).strip(" .!?;:,")
    text = re.sub(r"[.!?]\s+(\w)", lambda found: f"; {found[1].lower()}", text)
    first = text.split(" ", 1)[0]
    return text if first[1:] != first[1:].lower() or first == "I" else text[:1].lower() + text[1:]
