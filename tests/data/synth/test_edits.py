"""Edit programs: what the program says is the difference between the scenes, and nothing else."""

import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, OPERATIONS, Edit
from adiff_jax.data.synth.draw import draw_scene
from adiff_jax.data.synth.edits import PairScenes, draw_pair
from adiff_jax.data.synth.library import Library, Procedural, open_library
from adiff_jax.data.synth.recipe import Recipe, Weights
from adiff_jax.data.synth.scenes import Event, Scene, description_hash

LIBRARY = open_library(Procedural(recordings_per_class=3), 8_000)
EVERYTHING = Weights(earlier=1.0, later=1.0, background_swap=1.0)
SEEDS = st.integers(0, 2**31)


def pair(seed: int, recipe: Recipe, operation: str | None = None) -> PairScenes:
    return draw_pair(np.random.default_rng(seed), recipe, LIBRARY, operation)


def by_label(scene: Scene) -> dict[str, Event]:
    return {event.label: event for event in scene.events}


def difference(first: Scene, second: Scene, step: float) -> set[Edit]:
    """The program, found by comparing the scenes and without knowing how they were made."""
    found = set()
    before, after = by_label(first), by_label(second)
    gone = {label: event for label, event in before.items() if label not in after}
    new = {label: event for label, event in after.items() if label not in before}
    for label in list(gone):
        for other in list(new):
            if (gone[label].onset, gone[label].duration) == (new[other].onset, new[other].duration):
                found.add(Edit("replace", label, other))
                del gone[label], new[other]
                break
    found |= {Edit("remove", label) for label in gone} | {Edit("add", label) for label in new}
    for label in before.keys() & after.keys():
        old, now = before[label], after[label]
        if now.snr_db != old.snr_db:
            assert abs(now.snr_db - old.snr_db) == pytest.approx(step, abs=1e-6)
            found.add(Edit("louder" if now.snr_db > old.snr_db else "quieter", label))
        if now.onset != old.onset:
            found.add(Edit("later" if now.onset > old.onset else "earlier", label))
        assert replace(now, snr_db=old.snr_db, onset=old.onset) == old
    old_layer, new_layer = first.background[0], second.background[0]
    if old_layer.label != new_layer.label:
        found.add(Edit("background_swap", old_layer.label, new_layer.label))
    else:
        assert [x.recording for x in first.background] == [x.recording for x in second.background]
    for layer in second.background:
        assert abs(layer.level_db) in (0.0, step)
    if new_layer.level_db > 0:
        found.add(Edit("background_louder", old_layer.label))
    if new_layer.level_db < 0:
        found.add(Edit("background_quieter", old_layer.label))
    return found or {Edit("none")}


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, two=st.booleans())
def test_the_program_is_exactly_what_differs_between_the_scenes(seed: int, two: bool) -> None:
    recipe = Recipe(weights=EVERYTHING, two_edits=float(two))
    drawn = pair(seed, recipe)
    assert difference(drawn.first, drawn.second, recipe.level_step_db) == set(drawn.edits)
    assert drawn.first.reference_db == drawn.second.reference_db


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_both_scenes_keep_to_the_recipe(seed: int) -> None:
    recipe = Recipe(weights=EVERYTHING, two_edits=0.5)
    drawn = pair(seed, recipe)
    for scene in (drawn.first, drawn.second):
        labels = [event.label for event in scene.events]
        assert len(set(labels)) == len(labels) <= recipe.most_events
        assert {layer.label for layer in scene.background} <= set(LIBRARY.backgrounds)
        assert len({layer.recording for layer in scene.background}) == 2
        assert recipe.reference_db[0] <= scene.reference_db <= recipe.reference_db[1]
        for event in scene.events:
            assert event.label in LIBRARY.events
            assert recipe.event_seconds[0] <= event.duration <= recipe.event_seconds[1]
            assert 0 <= event.onset <= recipe.duration - event.duration + 1e-9
            assert LIBRARY.recording(event.recording).label == event.label
    assert all(0 <= event.snr_db <= 15 for event in drawn.first.events)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_two_edits_never_touch_one_class_nor_the_background_twice(seed: int) -> None:
    edits = pair(seed, Recipe(weights=EVERYTHING, two_edits=1.0)).edits
    touched = [label for edit in edits for label in (edit.event, edit.replacement) if label]
    assert len(edits) == 2 and len(set(touched)) == len(touched)
    assert sum(edit.operation in BACKGROUND_OPERATIONS for edit in edits) <= 1
    assert "none" not in {edit.operation for edit in edits}
    order = [OPERATIONS.index(edit.operation) for edit in edits]
    assert order == sorted(order)


def test_backgrounds_begin_elsewhere_in_the_second_clip() -> None:
    for seed in range(20):
        drawn = pair(seed, Recipe(), "none")
        starts = [[layer.position for layer in s.background] for s in (drawn.first, drawn.second)]
        assert starts[0] != starts[1]
        assert drawn.first.events == drawn.second.events


def test_operations_come_as_often_as_their_weights_say() -> None:
    weights = Weights(none=0.0, add=3.0, remove=1.0, louder=0.0, quieter=0.0, replace=0.0)
    recipe = Recipe(weights=replace(weights, background_louder=0.0, background_quieter=0.0))
    counts = Counter(pair(seed, recipe).edits[0].operation for seed in range(400))
    assert set(counts) == {"add", "remove"}
    assert counts["add"] / 400 == pytest.approx(0.75, abs=0.07)


def test_the_share_of_two_edits_and_of_event_counts_is_the_recipes() -> None:
    recipe = Recipe(two_edits=0.55)
    share = np.mean([len(pair(seed, recipe).edits) == 2 for seed in range(400)])
    assert share == pytest.approx(0.55, abs=0.07)
    recipe = Recipe(event_counts=(0.18, 0.57, 0.25))
    rng = np.random.default_rng(0)
    counts = Counter(len(draw_scene(rng, recipe, LIBRARY).events) for _ in range(400))
    for count, weight in enumerate(recipe.event_counts):
        assert counts[count] / 400 == pytest.approx(weight, abs=0.07)


def test_jitter_moves_onsets_only_and_keeps_everything_else_of_the_pair() -> None:
    still, moved = Recipe(), Recipe(jitter=1.0)
    for seed in range(50):
        one, other = pair(seed, still), pair(seed, moved)
        assert one.edits == other.edits and one.first == other.first
        assert one.second.background == other.second.background
        for before, after in zip(one.second.events, other.second.events, strict=True):
            assert before.onset != after.onset
            assert replace(after, onset=before.onset) == before


def test_jitter_and_shift_touch_the_share_of_pairs_they_are_given() -> None:
    recipe = Recipe(jitter=0.3, shift=0.2, weights=NOTHING_ELSE)
    drawn = [pair(seed, recipe) for seed in range(400)]
    with_events = [d for d in drawn if d.first.events]
    jittered = np.mean([d.first.events != d.second.events for d in with_events])
    assert jittered == pytest.approx(0.3, abs=0.08)
    assert np.mean([d.first.channel is not None for d in drawn]) == pytest.approx(0.2, abs=0.07)


NOTHING_ELSE = Weights(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
ONLY_BACKGROUND = replace(NOTHING_ELSE, none=0.0, background_louder=1.0)


def test_a_shift_gives_each_clip_a_channel_of_its_own_and_is_no_edit() -> None:
    one, other = pair(5, Recipe()), pair(5, Recipe(shift=1.0))
    assert other.first.channel != other.second.channel
    assert replace(other.first, channel=None) == one.first
    assert replace(other.second, channel=None) == one.second
    assert other.edits == one.edits


def test_a_pair_is_the_same_text_for_the_same_generator() -> None:
    """Written out, so that a changed draw is noticed: recipe files would no longer match."""
    rng = np.random.default_rng([7, zlib.crc32(b"train"), 3])
    drawn = draw_pair(rng, Recipe(weights=EVERYTHING, two_edits=1.0, shift=1.0), LIBRARY)
    digest = description_hash([drawn.first.to_json(), drawn.second.to_json()])
    assert digest[:16] == "c584b37c70f472bc"


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_scenes_survive_json(seed: int) -> None:
    drawn = pair(seed, Recipe(shift=0.5))
    assert Scene.from_json(drawn.second.to_json()) == drawn.second


def test_description_hashes_tell_order_and_content() -> None:
    assert description_hash(["a", "b"]) != description_hash(["b", "a"])
    assert description_hash(["ab"]) != description_hash(["a", "b"])


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"weights": Weights(add=-1.0)}, "Recipe.weights"),
        ({"weights": replace(NOTHING_ELSE, none=0.0)}, "Recipe.weights"),
        ({"event_counts": (1.0,)}, "event_counts allows no events"),
        ({"event_counts": (0.5, 0.5), "two_edits": 0.5}, "two_edits needs two events"),
        ({"weights": NOTHING_ELSE, "two_edits": 0.5}, "an operation on events"),
        ({"weights": ONLY_BACKGROUND, "two_edits": 0.5}, "an operation on events"),
        ({"weights": EVERYTHING, "jitter": 0.1}, "contradicts the operations earlier and later"),
        ({"weights": EVERYTHING, "duration": 6.0}, "no room to move"),
        ({"duration": 4.0}, "shorter than the longest"),
    ],
)
def test_contradictory_recipes_are_refused_by_field(
    fields: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Recipe(**fields)


def test_a_library_with_too_few_classes_is_refused(library: Library) -> None:
    few = Library([r for r in LIBRARY.recordings("rain")], ["rain"], library._load, 8_000)
    with pytest.raises(ValueError, match="0 event classes and 1 backgrounds"):
        draw_scene(np.random.default_rng(0), Recipe(), few, 1)
