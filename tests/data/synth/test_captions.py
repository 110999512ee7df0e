"""The grammar and its inverse: every sentence it makes is read back exactly, and no other."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, OPERATIONS, Edit
from adiff_jax.data.synth.captions import captions, corpus, read_edits
from adiff_jax.data.synth.phrases import PHRASES, mention, noun, nouns
from adiff_jax.data.synth.templates import CLAUSES, JOINERS

LABELS = tuple(PHRASES)
REPLACING = ("replace", "background_swap")


def edit(operation: str, label: str, other: str) -> Edit:
    if operation == "none":
        return Edit("none")
    return Edit(operation, label, other if operation in REPLACING else "")


def rendered(template: str, of: Edit) -> str:
    return template.format(the=noun(of.event), a=mention(of.event), new=mention(of.replacement))


@pytest.mark.parametrize("templates", ["train", "test"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_clause_with_every_label_is_read_back(operation: str, templates: str) -> None:
    for i, label in enumerate(LABELS):
        of = edit(operation, label, LABELS[i - 1])
        for template in CLAUSES[templates][operation]:
            assert read_edits(rendered(template, of)) == {of}


@pytest.mark.parametrize("templates", ["train", "test"])
def test_every_pair_of_clauses_is_read_back(templates: str) -> None:
    clauses = [(o, c) for o in OPERATIONS[1:] for c in CLAUSES[templates][o]]
    rng = np.random.default_rng(0)
    for (one, first), (two, second) in product(clauses, clauses):
        if rng.uniform() > 0.3:
            continue
        a, b, c, d = rng.choice(LABELS, 4, replace=False)
        edits = (edit(one, str(a), str(c)), edit(two, str(b), str(d)))
        joiner = JOINERS[templates][rng.integers(len(JOINERS[templates]))]
        sentence = joiner.join((rendered(first, edits[0]), rendered(second, edits[1])))
        assert read_edits(sentence) == set(edits), sentence


def programs() -> st.SearchStrategy[list[str]]:
    """One or two operations, at most one of them on the background."""
    operations = st.lists(st.sampled_from(OPERATIONS[1:]), min_size=1, max_size=2)
    return operations.filter(lambda o: sum(x in BACKGROUND_OPERATIONS for x in o) < 2)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    templates=st.sampled_from(["train", "test"]),
    operations=programs(),
)
def test_five_different_captions_of_a_program_are_short_and_all_read_back_to_it(
    seed: int, templates: str, operations: list[str]
) -> None:
    rng = np.random.default_rng(seed)
    labels = [LABELS[i] for i in rng.choice(len(LABELS), 4, replace=False)]
    edits = tuple(edit(o, labels[2 * i], labels[2 * i + 1]) for i, o in enumerate(operations))
    made = captions(edits, rng, templates)
    assert len(set(made)) == 5
    for sentence in made:
        assert read_edits(sentence) == set(edits)
        assert 2 <= len(sentence.split()) <= 25
        assert sentence == sentence.lower()


def test_no_clause_of_the_test_references_is_a_training_clause() -> None:
    for operation in OPERATIONS:
        train, test = CLAUSES["train"][operation], CLAUSES["test"][operation]
        assert len(set(train)) == len(train) >= 5
        assert len(set(test)) == len(test) >= 5
        assert not set(train) & set(test)


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "and",
        "a dog barks in the rain",
        "make the louder",
        "add dog bark",
        "add a dog",
        "make the dog bark",
        "make the dog bark louder louder",
        "add a dog bark and",
        "add a dog bark add a rooster crow",
        "add a dog bark and add a dog bark",
        "remove the dog bark and change nothing",
        "add a dog bark and remove the engine and add a train",
        "make the the dog bark louder",
    ],
)
def test_other_sentences_are_unreadable(sentence: str) -> None:
    assert read_edits(sentence) is None


def test_case_spacing_and_a_full_stop_do_not_matter() -> None:
    assert read_edits("  Make the  dog bark LOUDER. ") == {Edit("louder", "dog_bark")}


def test_an_edit_of_the_background_is_told_from_one_of_an_event_of_the_same_class() -> None:
    assert read_edits("make the rain louder") == {Edit("louder", "rain")}
    assert read_edits("make the background rain louder") == {Edit("background_louder", "rain")}


def test_unknown_labels_are_read_when_given() -> None:
    of = (Edit("replace", "rock_and_roll", "old_printer"), Edit("remove", "siren"))
    for sentence in captions(of, np.random.default_rng(0)):
        assert read_edits(sentence) is None
        assert read_edits(sentence, ("rock_and_roll", "old_printer")) == set(of)


def test_two_labels_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'dog_bark' and 'dog bark'"):
        nouns(["dog_bark", "dog bark"])


def test_a_label_of_ones_own_may_be_called_what_a_known_one_is() -> None:
    of = (edit("add", "cough", ""),)
    (sentence, *_) = captions(of, np.random.default_rng(0))
    assert read_edits(sentence, ("cough",)) == set(of)
    assert read_edits(sentence) == {Edit("add", "coughing")}


def test_the_corpus_of_two_edits_holds_their_longest_sentence() -> None:
    events, backgrounds = ("dog_bark", "siren", "footsteps"), ("rain", "traffic")
    longest = {
        two: max(len(text.split()) for text in corpus(OPERATIONS, events, backgrounds, two))
        for two in (False, True)
    }
    rng = np.random.default_rng(0)
    said = 0
    for operation in OPERATIONS:
        labels = backgrounds if operation.startswith("background") else events
        of = (edit(operation, labels[0], labels[1]), Edit("replace", "footsteps", "dog_bark"))
        if operation != "none":
            drawn = [text for _ in range(40) for text in captions(of, rng)]
            said = max(said, *(len(text.split()) for text in drawn))
    assert longest[False] < said <= longest[True] <= said + 2


def test_the_corpus_holds_every_word_of_every_training_caption() -> None:
    events, backgrounds = ("dog_bark", "siren", "footsteps"), ("rain", "traffic")
    known = {word for text in corpus(OPERATIONS, events, backgrounds) for word in text.split()}
    rng = np.random.default_rng(0)
    for operation in OPERATIONS:
        labels = backgrounds if operation.startswith("background") else events
        of = (edit(operation, labels[0], labels[1]),)
        if operation != "none":
            of = (*of, Edit("add", "siren"))
        for _ in range(5):
            assert {w for text in captions(of, rng) for w in text.split()} <= known


def test_a_program_of_three_edits_is_refused() -> None:
    with pytest.raises(ValueError, match="one or two edits, not 3"):
        captions((Edit("none"),) * 3, np.random.default_rng(0))
