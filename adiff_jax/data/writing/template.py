"""Explanations by rule, from two captions alone: offline, free, and the same for the same seed.

Captions are phrases or whole sentences ("a goat baaing", "a man speaks"), so they stand in
brackets, where either is correct. Around them goes what a word list finds in them (`hearing.py`).
Several wordings a tier; which one is drawn by the seed. It knows no more than the words of the
captions, and takes what a caption leaves out for something that is not there.
"""

from collections.abc import Sequence

import numpy as np

from adiff_jax.data.writing.answers import Answer, Failed
from adiff_jax.data.writing.hearing import Hearing, hear
from adiff_jax.data.writing.pairs import Pair
from adiff_jax.data.writing.prompts import Prompts

_QUOTED_WORDS = {1: (12, 9, 0), 2: (30, 20, 12, 0), 3: (60, 40, 25, 0)}
"""The longest caption that a text of the tier repeats; a lower one if the text gets too long."""
_MOST_KINDS = 3
_UNKNOWN = "sounds of a rarer kind"


class TemplateWriter:
    """Writes by rule; the wording is a function of `seed`, pair and tier. Of `prompts`, only the
    numbers of words matter."""

    def __init__(self, seed: int, prompts: Prompts) -> None:
        self._seed = seed
        self._prompts = prompts

    def write(self, pair: Pair, tier: int, failed: Failed | None) -> Answer:
        """The text of a tier; `failed` is not read, since a rule has nothing else to say."""
        most = self._prompts.tiers[tier - 1].words[1]
        return Answer(explain(tier, pair.captions, most, (self._seed, int(pair.id), tier)))

    def stop(self) -> None:
        """Nothing is waited for."""


def explain(tier: int, captions: tuple[str, str], most: int, seed: Sequence[int]) -> str:
    """The explanation of `tier` of how the second captioned clip differs from the first, of at most
    `most` words if it can be said in so few."""
    one, two = hear(captions[0]), hear(captions[1])
    text = ""
    for quoted in _QUOTED_WORDS[tier]:
        rng = np.random.default_rng(seed)  # the same wording each time
        first, second = _content(one, quoted), _content(two, quoted)
        text = {1: _few_words, 2: _sentence, 3: _detail}[tier](one, two, first, second, rng)
        if len(text.split()) <= most:
            break
    return text


def _few_words(
    one: Hearing, two: Hearing, first: str, second: str, rng: np.random.Generator
) -> str:
    return _drawn(
        rng,
        "Audio 1 features {first}, whereas audio 2 features {second}; {relation}.",
        "Audio 1 consists of {first}, while audio 2 consists of {second}: {relation}.",
        "In audio 1 one hears {first}, in audio 2 on the other hand {second}; {relation}.",
        "What one hears is {first} in audio 1 and {second} in audio 2; {relation}.",
        first=first,
        second=second,
        relation=_relation(one, two, special=False),
    )


def _sentence(one: Hearing, two: Hearing, first: str, second: str, rng: np.random.Generator) -> str:
    return _drawn(
        rng,
        "The two audios differ in what there is to hear, in that the first audio features {first}, "
        "whereas the second audio features {second}, and {relation}.",
        "While the first audio consists of {first}, the second audio consists of {second}, and so, "
        "taken together, {relation}.",
        "The difference between the first audio and the second is that the former presents "
        "{first}, that the latter presents {second}, and that {relation}.",
        first=first + _aside(one),
        second=second + _aside(two),
        relation=_relation(one, two),
    )


def _detail(one: Hearing, two: Hearing, first: str, second: str, rng: np.random.Generator) -> str:
    opening: tuple[str, ...] = (
        "Heard one after the other, the two audios leave different impressions.",
        "Played in a row, the two audios can be told apart by what is going on in them.",
        "Anyone who listens to the two audios in turn will notice that they differ.",
    )
    if one.caption == two.caption:
        opening = (
            "Heard one after the other, the two audios leave much the same impression.",
            "Played in a row, the two audios are hard to tell apart.",
        )
    told = (
        "The first audio features {first}.{how_1} The second audio, by comparison, features "
        "{second}.{how_2}",
        "In the first audio one hears {first}.{how_1} In the second audio one hears {second} "
        "instead.{how_2}",
        "What the first audio presents is {first}.{how_1} Then, in the second audio, there comes "
        "to the ear {second}.{how_2}",
    )
    compared = (
        "As to the kinds of sounds that they are made of, whatever their loudness or their length, "
        "{relation}.",
        "When it comes to what is there to be heard, whatever its loudness or its length, "
        "{relation}.",
    )
    closing: tuple[str, ...] = (
        "All in all, the first audio is marked by {kinds_1} and the second by {kinds_2}, which is "
        "what a listener who knows both of them would go by to tell which of the two is playing.",
        "To sum up, {kinds_1} would be remembered of the first audio, and {kinds_2} of the second, "
        "and that is how somebody who listens closely would keep the two apart.",
    )
    if one.kinds == two.kinds:
        closing = (
            "All in all, the two are close relatives, and whoever wants to keep the first apart "
            "from the second has to go by the details more than by the kinds of sounds in them.",
        )
    return " ".join(
        _drawn(
            rng,
            *wordings,
            first=first,
            second=second,
            how_1=_how(one),
            how_2=_how(two),
            kinds_1=_kinds(one),
            kinds_2=_kinds(two),
            relation=_relation(one, two),
        )
        for wordings in (opening, told, compared, _richness(one, two), closing)
    )


def _drawn(rng: np.random.Generator, *wordings: str, **parts: str) -> str:
    return wordings[int(rng.integers(len(wordings)))].format_map(parts)


def _content(heard: Hearing, quoted: int) -> str:
    """ "people and water (a man speaks by a river)", or "people and water" for more words than
    `quoted`."""
    fits = 0 < len(heard.caption.split()) <= quoted
    return f"{_kinds(heard)} ({heard.caption})" if fits else _kinds(heard)


def _kinds(heard: Hearing) -> str:
    return _joined(heard.kinds[:_MOST_KINDS]) or _UNKNOWN


def _aside(heard: Hearing) -> str:
    """Order and manner within a sentence, where they are known."""
    order = {"in turn": ", one thing after another", "at once": ", several things at once"}
    manner = f", {heard.manners[0]} in part" if heard.manners else ""
    return order.get(heard.order, "") + manner


def _how(heard: Hearing) -> str:
    """Order and manner as sentences of their own, where they are known."""
    order = {
        "in turn": " Its sounds come one after another.",
        "at once": " Some of its sounds are heard at the same time.",
    }
    manner = f" Parts of it are {_joined(heard.manners[:_MOST_KINDS])}." if heard.manners else ""
    return order.get(heard.order, "") + manner


def _relation(one: Hearing, two: Hearing, special: bool = True) -> str:
    """What the two have in common, as a clause, and what is special to either if wanted."""
    if one.caption == two.caption:
        return "nothing tells the second from the first"
    if not one.kinds or not two.kinds:
        return "neither of them is likely to be taken for the other"
    both = [kind for kind in one.kinds if kind in two.kinds]
    if not both:
        return "the two have no kind of sound in common"
    shared = f"both feature {_joined(both[:_MOST_KINDS])}"
    if one.kinds == two.kinds:
        return f"{shared}, each in its own way"
    only = [
        f"only the {which} features {_joined(kinds[:_MOST_KINDS])}"
        for which, kinds in (
            ("first", [kind for kind in one.kinds if kind not in both]),
            ("second", [kind for kind in two.kinds if kind not in both]),
        )
        if kinds and special
    ]
    return f"{shared}, while {' and '.join(only)}" if only else shared


def _richness(one: Hearing, two: Hearing) -> tuple[str, ...]:
    """Which of the two has more kinds of sounds, in several wordings."""
    if len(one.kinds) == len(two.kinds):
        return (
            "Neither of them is much busier than the other in this respect.",
            "In richness of sounds the two of them are about equal.",
        )
    more, less = ("first", "second") if len(one.kinds) > len(two.kinds) else ("second", "first")
    return (
        f"The {more} is the busier of the two, with more kinds of sounds than the {less}.",
        f"There is more variety in the {more} than there is in the {less}.",
    )


def _joined(parts: Sequence[str]) -> str:
    *rest, last = parts or ("",)
    return f"{', '.join(rest)} and {last}" if rest else last
