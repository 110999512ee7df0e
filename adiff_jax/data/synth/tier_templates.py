"""How explanations are worded: frames, fragments and clauses, for training and for test.

The two sets are disjoint: the test references are paraphrases that training never showed. So that
`tier_reader` can take every sentence apart again,

- the clip that a list belongs to is named before the list ("audio 1", "the first clip", "both");
- what belongs to the background is said by one of `BACKGROUND_FORMS`;
- words lead to the {change} and to the comparison {overall} in every frame;
- a clause names its operation unambiguously over both sets, and never holds " and ";
- events and backgrounds are nouns with or without an article, which carries no meaning.

Past tenses do not tell singular from plural: "the dog bark" and "the sea waves" both "got louder".
"""

from collections.abc import Mapping

from adiff_jax.data.synth.templates import Templates

Texts = Mapping[Templates, tuple[str, ...]]

FRAMES: Mapping[int, Texts] = {
    1: {
        "train": (
            "audio 1 features {first}, whereas audio 2 features {second}; in short, {change}.",
            "audio 1 has {first} but audio 2 has {second}, which means {change}.",
            "clip 1 holds {first}, clip 2 {second}. as a result, {change}.",
            "put briefly, {change}: audio 1 has {first}, audio 2 {second}.",
        ),
        "test": (
            "recording 1 presents {first}, recording 2 {second}; to sum up, {change}.",
            "in other words, {change}: recording 1 offers {first}, recording 2 {second}.",
        ),
    },
    2: {
        "train": (
            "{place}, and between them {change}; as a whole the second clip is {overall}.",
            "{place}; by comparison {change}, which leaves the second clip {overall}.",
            "while {place}, one notices that {change}, and on the whole audio 2 is {overall}.",
            "from one to the other {change}; {place}, and all in all the second is {overall}.",
        ),
        "test": (
            "the comparison yields this: {change}; {place}, and taken together the second "
            "recording sounds {overall}.",
            "{place}; listening on, {change}, so that altogether recording 2 appears {overall}.",
        ),
    },
    3: {
        "train": (
            "{stories} comparing them, {change}. overall, the second clip is {overall}.",
            "{stories} between the two, {change}; in all, audio 2 is {overall}.",
            "{stories} put together, {change}. measured as a whole, the second is {overall}.",
            "{stories} from one to the other, {change}, so that audio 2 comes out {overall}.",
        ),
        "test": (
            "{stories} side by side, {change}. on balance the second recording sounds {overall}.",
            "{stories} set against each other, {change}; altogether recording 2 appears {overall}.",
        ),
    },
}
"""Whole explanations of a tier."""

SOUNDS: Texts = {
    "train": (
        "{events} over background {b}",
        "{events} with background {b}",
        "background {b} with {events}",
        "{events} on background {b}",
    ),
    "test": ("{events} before a {b} backdrop", "a {b} backdrop plus {events}"),
}
"""Tier 1: what one clip holds."""

NO_SOUNDS: Texts = {
    "train": ("only background {b}", "just background {b}"),
    "test": ("no more than a {b} backdrop", "a {b} backdrop alone"),
}

SAME_PLACE: Texts = {
    "train": (
        "both clips have {b} in the background",
        "in both clips the background is {b}",
        "both clips play over background {b}",
        "both share background {b}",
    ),
    "test": ("both recordings rest on a {b} backdrop", "both recordings use {b} as a background"),
}
"""Tier 2: the scene of either clip."""

OTHER_PLACE: Texts = {
    "train": (
        "the first clip has {b1} in the background, the second has {b2} in the background",
        "in audio 1 the background is {b1}, in audio 2 the background is {b2}",
        "audio 1 plays over background {b1}, audio 2 over background {b2}",
        "the first clip has background {b1}, the second background {b2}",
    ),
    "test": (
        "recording 1 rests on a {b1} backdrop, recording 2 on a {b2} backdrop",
        "the first recording uses {b1} as a background, the second {b2} as a background",
    ),
}

STORIES: Texts = {
    "train": (
        "the {nth} clip has {b} as its background. {heard} it is {colour} and {evenness}.",
        "audio {n} has {b} in the background. {heard} as a signal it is {colour} and {evenness}.",
        "the {nth} clip plays over background {b}. {heard} its sound is {colour}; it is "
        "{evenness}.",
        "audio {n} is {colour} and {evenness}, with {b} in the background. {heard}",
    ),
    "test": (
        "the {nth} recording rests on a {b} backdrop. {heard} to the ear it appears {colour} and "
        "{evenness}.",
        "recording {n}, {evenness} and {colour}, uses {b} as a background. {heard}",
    ),
}
"""Tier 3: one clip."""

HEARD: Texts = {
    "train": (
        "over it one hears {events}.",
        "on top come {events}.",
        "one can make out {events}.",
        "it also has {events}.",
    ),
    "test": ("in front there sound {events}.", "beside it a listener finds {events}."),
}

NOT_HEARD: Texts = {
    "train": ("nothing else stands out.", "there is nothing else."),
    "test": ("no further sound occurs.", "a listener finds no further sound."),
}

EVENTS: Texts = {
    "train": (
        "{event} {standing} from second {onset} on",
        "{event} {standing}, starting at second {onset}",
        "{event} from second {onset} on, {standing}",
    ),
    "test": ("{event}, {standing}, since about second {onset}", "{event} {standing}, at {onset} s"),
}
"""Tier 3: one event of a clip."""

JOINERS: Mapping[Templates, str] = {"train": " and ", "test": " while "}
"""Between the clauses of two edits."""

TRAIN: Mapping[str, tuple[str, ...]] = {
    "none": (
        "nothing of note changed",
        "all stayed the same",
        "no sound changed",
        "everything is as before",
    ),
    "add": (
        "the {event} appeared",
        "the {event} joined in",
        "the {event} got added",
        "one newly hears the {event}",
    ),
    "remove": (
        "the {event} disappeared",
        "the {event} went away",
        "the {event} got removed",
        "one no longer hears the {event}",
    ),
    "louder": (
        "the {event} got louder",
        "the {event} became louder",
        "the {event} grew in volume",
        "the {event} gained in level",
    ),
    "quieter": (
        "the {event} got softer",
        "the {event} became quieter",
        "the {event} fell in volume",
        "the {event} lost in level",
    ),
    "replace": (
        "the {event} gave way to the {new}",
        "the {event} turned into the {new}",
        "the {new} replaced the {event}",
        "the {new} displaced the {event}",
    ),
    "earlier": (
        "the {event} came earlier",
        "the {event} moved forward in time",
        "the {event} began sooner",
        "the {event} shifted to an earlier time",
    ),
    "later": (
        "the {event} came later",
        "the {event} moved back in time",
        "the {event} got delayed",
        "the {event} shifted to a later time",
    ),
    "background_louder": (
        "the {event} in the background got louder",
        "the background {event} became louder",
        "the background {event} grew in volume",
        "the {event} in the background gained in level",
    ),
    "background_quieter": (
        "the {event} in the background got softer",
        "the background {event} became quieter",
        "the background {event} fell in volume",
        "the {event} in the background lost in level",
    ),
    "background_swap": (
        "the background turned from {event} to {new}",
        "the background {event} gave way to {new}",
        "{new} replaced the {event} in the background",
        "the background changed from {event} to {new}",
    ),
}

TEST: Mapping[str, tuple[str, ...]] = {
    "none": ("everything remained alike", "the sounds did not differ"),
    "add": ("the {event} emerged", "the {event} was introduced"),
    "remove": ("the {event} vanished", "the {event} fell silent"),
    "louder": ("the {event} rose in loudness", "the {event} sounded stronger"),
    "quieter": ("the {event} sank in loudness", "the {event} sounded weaker"),
    "replace": ("the {new} succeeded the {event}", "the {event} made room for the {new}"),
    "earlier": ("the {event} set in sooner", "the {event} moved closer to the start"),
    "later": ("the {event} set in with a delay", "the {event} moved closer to the end"),
    "background_louder": (
        "the background {event} rose in loudness",
        "the {event} in the background sounded stronger",
    ),
    "background_quieter": (
        "the background {event} sank in loudness",
        "the {event} in the background sounded weaker",
    ),
    "background_swap": (
        "{new} succeeded the background {event}",
        "the background {event} made room for {new}",
    ),
}

CHANGES: Mapping[Templates, Mapping[str, tuple[str, ...]]] = {"train": TRAIN, "test": TEST}
"""Clauses by operation; {event} is what changes, {new} what a replacement becomes."""

STANDINGS = ("softer than it", "blending with it", "clearly above it", "standing out")
"""Of an event over its background, below 0, 5 and 12 dB, and from there on."""

ALIKE = "alike in level and timbre"
COMPARISONS = ("louder", "quieter", "brighter", "darker", "more dynamic", "more even", ALIKE)
"""How the second clip compares with the first as a whole."""

BACKGROUND_FORMS = (
    "background {b}",
    "background is {b}",
    "{b} in the background",
    "{b} as its background",
    "{b} as a background",
    "{b} backdrop",
)
"""All the ways in which templates say that a sound is the background."""
