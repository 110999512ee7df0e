"""Scores of explanations on sentences whose right answer is known by hand."""

from dataclasses import replace

import numpy as np
import pytest

from adiff_jax.data.schema import Edit, Truth
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.tier_reader import Explained, read_explanation
from adiff_jax.evaluate.difference import compare
from adiff_jax.evaluate.explanations import can_judge, measures
from adiff_jax.evaluate.measuring import Scored
from adiff_jax.evaluate.scoring import ScoreConfig

DOG, CAT, BELL, COW = "dog_bark", "cat", "bell", "cow"
RAIN, WIND = "rain", "wind"
NONE = Edit("none")


def truth(first=(), second=(), edits=(NONE,), backgrounds=(RAIN, RAIN), tier=1, place=0):
    return Truth(
        id=f"{place:03d}",
        references=("Overall, the second clip is louder and more even.",),
        edits=tuple(edits),
        recordings=(f"a{place % 11}", f"b{place % 7}"),
        tier=tier,
        heard=(tuple(first), tuple(second)),
        backgrounds=backgrounds,
    )


def said(first=(), second=(), edits=(NONE,), named=(), overall=(), backgrounds=()):
    """What a sentence says; events of the lists and edits are named."""
    in_edits = {x for e in edits or () if "background" not in e.operation for x in (e.event,) if x}
    return Explained(
        events=(frozenset(first), frozenset(second)),
        backgrounds=(frozenset(backgrounds), frozenset()),
        named=frozenset((*first, *second, *named)) | in_edits,
        edits=None if edits is None else frozenset(edits),
        overall=frozenset(overall),
    )


def found(*pairs):
    """Measures of pairs (truth, what is said)."""
    sayings = {str(place): one for place, (_, one) in enumerate(pairs)}
    read = sayings | {text: read_explanation(text) for one, _ in pairs for text in one.references}
    return measures(list(sayings), [one for one, _ in pairs], read.__getitem__)


def score(name, *pairs):
    values, counts = found(*pairs)[name]
    return values.sum() / counts.sum()


def test_event_f1_is_the_mean_over_pairs_with_events():
    half = (truth([DOG, CAT], [DOG]), said([DOG, BELL]))
    right = (truth([DOG], [DOG]), said([DOG], [DOG]))
    none = (truth(), said([DOG]))
    assert score("events.f1", half) == 0.5
    assert score("events.f1", half, right) == 0.75
    # A pair without events has nothing to find; what is made up there is a hallucination.
    assert score("events.f1", half, right, none) == 0.75
    assert found(none)["events.f1"].counts.sum() == 0
    assert score("events.f1", (truth([DOG]), said())) == 0


def test_denominators_of_f1_do_not_depend_on_what_is_said():
    pairs = [truth([DOG], [CAT], [Edit("replace", DOG, CAT)]), truth(), truth([BELL], [BELL])]
    silent = found(*((one, said(edits=None)) for one in pairs))
    wordy = found(*((one, said([DOG, CAT, COW], [BELL])) for one in pairs))
    for name in ("events.f1", "events.recall", "clip_events.f1", "attributes.f1", "omission.share"):
        assert np.array_equal(silent[name].counts, wordy[name].counts), name


def test_an_event_named_in_the_wrong_clip_is_found_but_not_attributed():
    added = truth([], [DOG], [Edit("add", DOG)])
    wrong = (added, said([DOG], []))
    right = (added, said([], [DOG]))
    both = (added, said([DOG], [DOG]))
    assert score("events.f1", wrong) == 1
    assert score("clip_events.f1", wrong) == 0
    assert score("clip_events.f1", both) == pytest.approx(2 / 3)
    assert score("attribution.right_clip", wrong) == 0
    assert score("attribution.right_clip", both) == 0
    assert score("attribution.right_clip", wrong, right) == 0.5


def test_attribution_is_asked_of_what_is_named_and_heard_in_one_clip_only():
    everywhere = (truth([DOG], [DOG]), said([DOG], []))
    unsaid = (truth([], [DOG]), said([], []))
    invented = (truth([], [DOG]), said([CAT], [CAT]))
    for pair in (everywhere, unsaid, invented):
        assert found(pair)["attribution.right_clip"].counts.sum() == 0


def test_precision_recall_and_omission_are_over_all_labels():
    pairs = [(truth([DOG, CAT], [DOG]), said([DOG])), (truth([BELL]), said([BELL, COW], [CAT]))]
    assert score("events.precision", *pairs) == 2 / 4
    assert score("events.recall", *pairs) == 2 / 3
    assert score("omission.share", *pairs) == pytest.approx(1 / 3)


def test_a_hallucination_is_in_neither_clip_not_even_behind():
    pair = (truth([DOG], [], backgrounds=(RAIN, WIND)), said([DOG, RAIN], [COW]))
    assert score("hallucination.share", pair) == pytest.approx(1 / 3)
    assert score("events.precision", pair) == pytest.approx(1 / 3)


def test_what_is_named_without_a_clip_or_in_the_change_counts_as_named():
    pair = (truth([DOG], [CAT]), said(named=[DOG], edits=[Edit("add", CAT)]))
    assert score("events.recall", pair) == 1
    assert score("clip_events.f1", pair) == 0


def test_attributes_are_whole_edits_and_none_is_no_attribute():
    louder = truth([DOG], [DOG], [Edit("louder", DOG), Edit("background_swap", RAIN, WIND)])
    half = (louder, said(edits=[Edit("louder", DOG), Edit("background_swap", RAIN, COW)]))
    assert score("attributes.f1", half) == 0.5
    assert score("attributes.f1", (louder, said(edits=[Edit("quieter", DOG)]))) == 0
    assert score("attributes.f1", (louder, said(edits=[NONE]))) == 0
    assert score("attributes.f1", (louder, said(edits=None))) == 0
    assert found((truth(), said()))["attributes.f1"].counts.sum() == 0


def test_tier_2_is_judged_by_the_events_of_the_edits():
    replaced = truth([DOG, BELL], [CAT, BELL], [Edit("replace", DOG, CAT)], tier=2)
    right = said(edits=[Edit("replace", DOG, CAT)], named=[CAT])
    for name in ("events.f1", "clip_events.f1", "attribution.right_clip"):
        assert score(name, (replaced, right)) == 1, name
    backwards = said(edits=[Edit("replace", CAT, DOG)], named=[DOG])
    assert score("events.f1", (replaced, backwards)) == 1
    assert score("clip_events.f1", (replaced, backwards)) == 0
    assert score("attribution.right_clip", (replaced, backwards)) == 0
    # It is heard, so that naming it is no hallucination, but it has not changed.
    louder = (replaced, said(edits=[Edit("louder", BELL)]))
    assert score("hallucination.share", louder) == 0
    assert score("events.precision", louder) == 0
    behind = truth([DOG], [DOG], [Edit("background_louder", RAIN)], tier=2)
    assert found((behind, said()))["events.f1"].counts.sum() == 0


@pytest.mark.parametrize(
    ("edit", "sides"),
    [
        (Edit("add", DOG), (set(), {DOG})),
        (Edit("remove", DOG), ({DOG}, set())),
        (Edit("later", DOG), ({DOG}, {DOG})),
        (Edit("replace", DOG, CAT), ({DOG}, {CAT})),
    ],
)
def test_what_an_edit_says_of_either_clip(edit, sides):
    # Listed in tier 1, implied in tier 2: the same lists are told apart from all others.
    listed = truth(*sides, edits=[edit], tier=2)
    for other in (Edit("add", DOG), Edit("remove", DOG), Edit("later", DOG), Edit("add", CAT)):
        given = score("clip_events.f1", (listed, said(edits=[other])))
        assert (given == 1) == (other == edit)


def test_how_clips_compare_as_wholes_is_judged_by_the_reference():
    pair = truth([DOG], tier=3)
    assert score("overall.f1", (pair, said(overall=["louder", "more even"]))) == 1
    assert score("overall.f1", (pair, said(overall=["louder", "darker"]))) == 0.5
    without = replace(pair, references=())
    assert found((without, said(overall=["louder"])))["overall.f1"].counts.sum() == 0


def test_unreadable_changes_and_silence_are_counted():
    pairs = [
        (truth([DOG]), said(edits=None, backgrounds=[RAIN])),
        (truth([DOG]), said(edits=None)),
        (truth([DOG]), said([DOG])),
        (truth([DOG]), said()),
    ]
    assert score("unreadable.change", *pairs) == 0.5
    assert score("unreadable.sounds", *pairs) == 0.5


def test_only_explanations_of_known_clips_can_be_judged():
    assert can_judge(truth())
    for changes in ({"tier": 0}, {"edits": None}, {"heard": None}, {"backgrounds": None}):
        assert not can_judge(replace(truth(), **changes))


@pytest.mark.parametrize("tier", [1, 2, 3])
@pytest.mark.parametrize("templates", ["train", "test"])
def test_references_score_full_marks_against_their_own_truth_and_few_against_others(
    tier, templates
):
    recipe = Recipe(duration=6.0, balance=True, two_edits=0.3)
    made = Procedural(recordings_per_class=2)
    config = SynthPairs(made, recipe, size=24, rate=8_000, templates=templates, tier=tier)
    source = open_source(config)
    truths = [source.truth(index) for index in range(24)]
    texts = [one.references[0] for one in truths]
    own = measures(texts, truths, read_explanation)
    best = {"hallucination.share", "omission.share", "unreadable.change", "unreadable.sounds"}
    for name, (values, counts) in own.items():
        if name == "overall.f1" and tier == 1:
            assert counts.sum() == 0
        else:
            assert values.sum() / counts.sum() == (0 if name in best else 1), name
    other = measures(texts[1:] + texts[:1], truths, read_explanation)
    for name in ("events.f1", "clip_events.f1", "attributes.f1", "events.recall"):
        values, counts = other[name]
        assert values.sum() / counts.sum() < 0.8, name


def test_two_systems_are_compared_on_the_f1s():
    truths = [truth([DOG], [CAT], [Edit("replace", DOG, CAT)], place=i) for i in range(60)]

    def system(right):
        """Right for a share of the pairs; otherwise silent, or wordy."""
        rng = np.random.default_rng(right)
        pairs = []
        for one in truths:
            good = said([DOG], [CAT], one.edits)
            pairs.append((one, good if rng.uniform() < right / 10 else said([COW], edits=None)))
        named = {f"explanations.{name}": value for name, value in found(*pairs).items()}
        return [Scored({"count": len(truths)}, named)]

    differences = compare(system(9), system(2), truths, ScoreConfig(resamples=300))
    for name in ("events.f1", "clip_events.f1", "attributes.f1", "events.recall"):
        one = differences[f"explanations.{name}"]
        assert one.low > 0.3 and one.mean > 0.5, name
    # How many labels are named is up to the system, so that their shares cannot be paired.
    assert "explanations.hallucination.share" not in differences
