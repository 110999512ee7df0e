"""Structured scores on sentences whose right answer is known by hand."""

import numpy as np
import pytest

from adiff_jax.data.schema import OPERATIONS, REVERSE, Edit, reverse
from adiff_jax.data.synth.captions import captions, read_edits
from adiff_jax.evaluate.structured import (
    Answer,
    counts,
    measures,
    swap_consistency,
)

ADD, REMOVE = Edit("add", "dog"), Edit("remove", "dog")
LOUDER, QUIETER = Edit("louder", "bell"), Edit("quieter", "bell")
SWAP, SWAP_BACK = Edit("replace", "dog", "bell"), Edit("replace", "bell", "dog")
RAIN, NONE = Edit("background_louder", "rain"), Edit("none")


def answers(*pairs):
    """From (true edits, said edits or None)."""
    return [
        Answer(frozenset(true), None if said is None else frozenset(said)) for true, said in pairs
    ]


def score(name, *pairs):
    values, weights = measures(answers(*pairs))[name]
    return values.sum() / weights.sum()


def inverse(program: frozenset[Edit]) -> frozenset[Edit]:
    return frozenset(map(reverse, program))


def test_operation_accuracy_is_the_multiset_of_operations_whatever_the_event():
    other = Edit("add", "cow")
    assert score("operation.accuracy", ([ADD], [other])) == 1
    assert score("operation.accuracy", ([ADD, other], [ADD])) == 0
    assert score("operation.accuracy", ([ADD, RAIN], [RAIN, other])) == 1
    assert score("operation.accuracy", ([NONE], [NONE]), ([ADD], [REMOVE])) == 0.5


def test_event_accuracy_counts_only_pairs_that_edit_an_event_and_wants_all_labels():
    pairs = [([ADD], [REMOVE]), ([ADD], [Edit("add", "cow")]), ([NONE], [ADD]), ([RAIN], [ADD])]
    assert score("event.accuracy", *pairs) == 0.5
    assert score("event.accuracy", ([SWAP], [SWAP_BACK])) == 1
    assert score("event.accuracy", ([SWAP], [ADD])) == 0
    assert score("event.accuracy", ([ADD, RAIN], [ADD])) == 1
    assert score("event.accuracy", ([ADD], [NONE])) == 0


def test_unreadable_is_wrong_everywhere_and_raises_no_alarm():
    pairs = [([ADD], None), ([NONE], None)]
    for name in ("program.exact", "operation.accuracy", "event.accuracy", "edits.recall"):
        assert score(name, *pairs) == 0
    for name in ("none.false_alarm", "changed.missed", "attribution.wrong_clip"):
        assert score(name, *pairs) == 0
    assert score("unreadable.share", *pairs, ([ADD], [ADD])) == pytest.approx(2 / 3)


def test_edit_precision_recall_and_f1_are_over_all_edits_of_all_pairs():
    pairs = [([ADD, RAIN], [ADD, LOUDER]), ([QUIETER], [LOUDER]), ([NONE], [NONE]), ([SWAP], None)]
    # said: 2 + 1 + 1 + 0 edits, true: 2 + 1 + 1 + 1, right: 1 + 0 + 1 + 0.
    assert score("edits.precision", *pairs) == 2 / 4
    assert score("edits.recall", *pairs) == 2 / 5
    assert score("edits.f1", *pairs) == pytest.approx(4 / 9)
    assert score("program.exact", *pairs) == 1 / 4


def test_false_alarms_and_missed_changes_have_their_own_pairs():
    pairs = [([NONE], [NONE]), ([NONE], [ADD]), ([ADD], [NONE]), ([ADD], [ADD]), ([RAIN], [ADD])]
    assert score("none.false_alarm", *pairs) == 1 / 2
    assert score("changed.missed", *pairs) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("true", "said"), [(ADD, REMOVE), (REMOVE, ADD), (SWAP, SWAP_BACK)])
def test_right_event_in_the_wrong_clip_is_an_attribution_error(true, said):
    assert score("attribution.wrong_clip", ([true], [said])) == 1
    assert score("attribution.wrong_clip", ([true], [true])) == 0
    assert score("attribution.wrong_clip", ([true], [true, said])) == 0


def test_wrong_directions_are_counted_apart_from_wrong_clips():
    assert score("attribution.wrong_direction", ([LOUDER], [QUIETER]), ([ADD], [REMOVE])) == 1
    assert score("attribution.wrong_clip", ([LOUDER], [QUIETER]), ([ADD], [ADD])) == 0
    wrong_event = Edit("remove", "cow")
    assert score("attribution.wrong_clip", ([ADD], [wrong_event])) == 0


def test_a_measure_is_silent_about_pairs_it_does_not_apply_to():
    for values, weights in measures(answers(([NONE], [ADD]), ([ADD], [NONE]))).values():
        assert not values[weights == 0].any()


def test_the_inverse_of_the_inverse_is_the_program():
    assert set(REVERSE) == set(OPERATIONS)
    program = frozenset({ADD, LOUDER, SWAP, RAIN, Edit("earlier", "cow")})
    assert inverse(program) != program
    assert inverse(inverse(program)) == program
    assert inverse(frozenset({SWAP})) == {SWAP_BACK}
    assert inverse(frozenset({NONE})) == {NONE}


def test_table_and_confusion_count_edits_and_pairs():
    pairs = [([ADD], [REMOVE]), ([ADD], [ADD]), ([ADD], None), ([NONE], [ADD, RAIN])]
    found = counts(answers(*pairs), ["a", "b", "b", "c"])
    assert found["operations"]["add"] == {
        "true": 3,
        "said": 2,
        "right": 1,
        "recall": 1 / 3,
        "precision": 1 / 2,
        "f1": 2 / 5,
    }
    assert "precision" not in found["operations"]["none"]
    assert found["confusion"] == {
        "add": {"remove": 1, "add": 1, "unreadable": 1},
        "none": {"several": 1},
    }
    assert found["sentences"] == {"distinct": 3, "distinct_share": 3 / 4}


def test_swap_consistency_wants_the_inverse_program():
    add, remove = frozenset({ADD}), frozenset({REMOVE})
    forward = {"1": add, "2": add, "3": None, "4": remove}
    backward = {"1": remove, "2": add, "3": None, "4": add}
    values, weights = swap_consistency(forward, backward)
    assert values.tolist() == [1, 0, 0, 1] and weights.tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="'4'"):
        swap_consistency(forward, {"1": add, "2": add, "3": add})


def test_captions_of_the_grammar_score_full_marks_against_their_own_programs():
    rng = np.random.default_rng(0)
    programs = []
    for operation in OPERATIONS:
        label = "rain" if operation.startswith("background") else "dog_bark"
        replacement = {"replace": "car_horn", "background_swap": "sea_waves"}.get(operation, "")
        programs.append((Edit(operation, "" if operation == "none" else label, replacement),))
    texts = [text for program in programs for text in captions(program, rng, "test")]
    truths = [program for program in programs for _ in range(5)]
    read = [Answer(frozenset(t), read_edits(text)) for text, t in zip(texts, truths, strict=True)]
    found = measures(read)
    for name in ("program.exact", "edits.f1", "operation.accuracy", "event.accuracy"):
        values, weights = found[name]
        assert values.sum() / weights.sum() == 1, name
    for name in ("none.false_alarm", "changed.missed", "unreadable.share"):
        assert found[name].values.sum() == 0, name
