"""The clauses of the caption grammar: what a sentence may say, for training and for test.

The two sets are disjoint: a test reference is a paraphrase that training never showed. Every clause
names its operation unambiguously over both sets; edits of the background say "background". In a
clause {the} is the noun of the event, {a} the event as something new, {new} the replacement.
"""

from collections.abc import Mapping
from typing import Literal

Templates = Literal["train", "test"]

TRAIN: Mapping[str, tuple[str, ...]] = {
    "none": (
        "leave everything as it is",
        "change nothing",
        "make no change",
        "keep everything the same",
        "do not change anything",
        "keep all sounds as they are",
    ),
    "add": (
        "add {a}",
        "put in {a}",
        "insert {a}",
        "include {a}",
        "add the sound of {a}",
        "mix in {a}",
    ),
    "remove": (
        "remove the {the}",
        "take out the {the}",
        "delete the {the}",
        "take the {the} away",
        "get rid of the {the}",
        "remove the sound of the {the}",
    ),
    "louder": (
        "make the {the} louder",
        "turn up the {the}",
        "turn the {the} up",
        "increase the volume of the {the}",
        "raise the level of the {the}",
        "make the sound of the {the} louder",
    ),
    "quieter": (
        "make the {the} quieter",
        "turn down the {the}",
        "turn the {the} down",
        "decrease the volume of the {the}",
        "lower the level of the {the}",
        "make the sound of the {the} quieter",
    ),
    "replace": (
        "replace the {the} with {new}",
        "change the {the} to {new}",
        "turn the {the} into {new}",
        "swap the {the} for {new}",
        "exchange the {the} for {new}",
        "replace the sound of the {the} with {new}",
    ),
    "earlier": (
        "move the {the} earlier",
        "play the {the} earlier",
        "make the {the} come earlier",
        "start the {the} earlier",
        "shift the {the} to an earlier time",
    ),
    "later": (
        "move the {the} later",
        "play the {the} later",
        "make the {the} come later",
        "start the {the} later",
        "shift the {the} to a later time",
    ),
    "background_louder": (
        "make the background {the} louder",
        "turn up the background {the}",
        "turn the background {the} up",
        "increase the volume of the background {the}",
        "raise the level of the background {the}",
        "make the {the} in the background louder",
    ),
    "background_quieter": (
        "make the background {the} quieter",
        "turn down the background {the}",
        "turn the background {the} down",
        "decrease the volume of the background {the}",
        "lower the level of the background {the}",
        "make the {the} in the background quieter",
    ),
    "background_swap": (
        "replace the background {the} with {new}",
        "change the background {the} to {new}",
        "turn the background {the} into {new}",
        "swap the background {the} for {new}",
        "replace the {the} in the background with {new}",
    ),
}

TEST: Mapping[str, tuple[str, ...]] = {
    "none": (
        "leave the clip unchanged",
        "nothing needs to change",
        "keep the clip exactly as it is",
        "leave all the sounds alone",
        "do nothing to the clip",
    ),
    "add": (
        "bring in {a}",
        "let {a} be heard as well",
        "add {a} to the clip",
        "introduce {a}",
        "place {a} in the clip",
    ),
    "remove": (
        "remove the {the} from the clip",
        "leave out the {the}",
        "cut out the {the}",
        "erase the {the}",
        "take the {the} out of the clip",
    ),
    "louder": (
        "make the {the} sound louder",
        "raise the volume of the {the}",
        "amplify the {the}",
        "bring the {the} up in volume",
        "play the {the} louder",
    ),
    "quieter": (
        "make the {the} sound quieter",
        "reduce the volume of the {the}",
        "soften the {the}",
        "bring the {the} down in volume",
        "play the {the} quieter",
    ),
    "replace": (
        "put {new} in place of the {the}",
        "substitute {new} for the {the}",
        "have {new} replace the {the}",
        "switch the {the} to {new}",
        "use {new} instead of the {the}",
    ),
    "earlier": (
        "let the {the} begin earlier",
        "bring the {the} forward in time",
        "move the {the} closer to the start",
        "make the {the} start sooner",
        "have the {the} happen earlier",
    ),
    "later": (
        "let the {the} begin later",
        "push the {the} back in time",
        "move the {the} closer to the end",
        "delay the {the}",
        "have the {the} happen later",
    ),
    "background_louder": (
        "make the background {the} sound louder",
        "raise the volume of the background {the}",
        "amplify the background {the}",
        "bring the background {the} up in volume",
        "play the {the} in the background louder",
    ),
    "background_quieter": (
        "make the background {the} sound quieter",
        "reduce the volume of the background {the}",
        "soften the background {the}",
        "bring the background {the} down in volume",
        "play the {the} in the background quieter",
    ),
    "background_swap": (
        "put {new} in place of the background {the}",
        "substitute {new} for the background {the}",
        "have {new} replace the background {the}",
        "switch the background {the} to {new}",
        "use {new} instead of the background {the}",
    ),
}

JOINERS: Mapping[Templates, tuple[str, ...]] = {
    "train": (" and ", " and then "),
    "test": (" and also ", " and "),
}

CLAUSES: Mapping[Templates, Mapping[str, tuple[str, ...]]] = {"train": TRAIN, "test": TEST}
