"""Explanations read back: exactly where they are whole, and what can be had where they are not."""

from itertools import product
from string import Formatter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, OPERATIONS, Edit
from adiff_jax.data.synth import tier_templates
from adiff_jax.data.synth.edits import PairScenes, draw_pair
from adiff_jax.data.synth.library import Library
from adiff_jax.data.synth.phrases import PHRASES, noun
from adiff_jax.data.synth.recipe import Recipe, Weights
from adiff_jax.data.synth.scenes import Event, Layer, Scene
from adiff_jax.data.synth.templates import Templates
from adiff_jax.data.synth.tier_reader import read_explanation
from adiff_jax.data.synth.tier_templates import ALIKE, CHANGES, FRAMES, JOINERS
from adiff_jax.data.synth.tiers import Signal, drawn, explain
from adiff_jax.data.tokenizers import Words, build_tokenizer

EVERYTHING = Recipe(
    weights=Weights(*[1.0] * len(OPERATIONS)), two_edits=0.5, event_counts=(0.2, 0.3, 0.3, 0.2)
)
SIGNALS = (Signal(0.0, 300.0, 3.0), Signal(20.0, 1000.0, 10.0), Signal(40.0, 3000.0, 20.0))
TEMPLATES = st.sampled_from(["train", "test"])


def heard(scene: Scene) -> frozenset[str]:
    return frozenset(event.label for event in scene.events)


def compared(one: Signal, two: Signal) -> set[str]:
    """What the steps between `SIGNALS` are called: all three grow together."""
    if one == two:
        return {ALIKE}
    grows = two.level > one.level
    return {"louder", "brighter", "more dynamic"} if grows else {"quieter", "darker", "more even"}


def check(pair: PairScenes, tier: int, templates: Templates, rng: np.random.Generator) -> None:
    """Every explanation reads back to the pair that it was made from."""
    one, two = (SIGNALS[rng.integers(3)] for _ in range(2))
    text = explain(tier, pair, (one, two), drawn(rng), templates)
    said = read_explanation(text)
    scenes = (pair.first, pair.second)
    assert said.edits == set(pair.edits), text
    assert said.backgrounds == tuple({scene.background[0].label} for scene in scenes), text
    assert said.overall == (set() if tier == 1 else compared(one, two)), text
    edited = {
        label
        for edit in pair.edits
        if edit.operation not in BACKGROUND_OPERATIONS
        for label in (edit.event, edit.replacement)
        if label
    }
    if tier == 2:
        assert said.events == (set(), set()) and said.named == edited, text
    else:
        assert said.events == tuple(map(heard, scenes)), text
        assert said.named == heard(scenes[0]) | heard(scenes[1]) | edited, text


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**31), templates=TEMPLATES)
def test_every_explanation_of_a_drawn_pair_reads_back_to_its_truth(
    library: Library, seed: int, templates: Templates
) -> None:
    rng = np.random.default_rng(seed)
    pair = draw_pair(rng, EVERYTHING, library)
    for tier in (1, 2, 3):
        check(pair, tier, templates, rng)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**31), templates=TEMPLATES, counts=st.tuples(*[st.integers(0, 3)] * 2))
def test_every_label_reads_back_in_every_tier(
    seed: int, templates: Templates, counts: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    labels = [str(label) for label in rng.permutation(sorted(PHRASES))]
    scenes = [
        Scene(
            10.0,
            -35.0,
            (Layer(labels.pop(), "", 0.0),),
            tuple(
                Event(labels.pop(), "", float(onset), 1.0, float(rng.uniform(-5, 20)), 0.0)
                for onset in range(count)
            ),
        )
        for count in counts
    ]
    edits = (Edit("replace", labels.pop(), labels.pop()), Edit("background_swap", *labels[:2]))
    pair = PairScenes(scenes[0], scenes[1], edits[: rng.integers(1, 3)])
    for tier in (1, 2, 3):
        check(pair, tier, templates, rng)


@pytest.mark.parametrize("templates", ["train", "test"])
def test_every_pair_of_clauses_is_read_back_with_any_label(templates: Templates) -> None:
    rng = np.random.default_rng(0)
    clauses = [(o, c) for o in OPERATIONS[1:] for c in CHANGES[templates][o]]
    for (one, first), (two, second) in product(clauses, clauses):
        labels = [str(x) for x in rng.choice(sorted(PHRASES), 4, replace=False)]
        edits = []
        for operation, label, other in ((one, *labels[:2]), (two, *labels[2:])):
            replacing = operation in ("replace", "background_swap")
            edits.append(Edit(operation, label, other if replacing else ""))
        said = [
            clause.format(event=noun(edit.event), new=noun(edit.replacement))
            for clause, edit in zip((first, second), edits, strict=True)
        ]
        assert read_explanation(JOINERS[templates].join(said)).edits == set(edits)


def wordings() -> dict[str, dict[Templates, tuple[str, ...]]]:
    """Every list of wordings, by a name."""
    named = ("SOUNDS", "NO_SOUNDS", "SAME_PLACE", "OTHER_PLACE", "STORIES", "HEARD", "NOT_HEARD")
    found = {name: getattr(tier_templates, name) for name in (*named, "EVENTS")}
    found |= {f"tier {tier}": texts for tier, texts in FRAMES.items()}
    for operation in OPERATIONS:
        found[operation] = {name: CHANGES[name][operation] for name in ("train", "test")}
    return found


def test_no_wording_of_the_test_set_is_one_of_training() -> None:
    for name, texts in wordings().items():
        train, test = texts["train"], texts["test"]
        assert len(set(train)) == len(train) and len(set(test)) == len(test), name
        assert not set(train) & set(test), name
        least = 4 if name in OPERATIONS or name.startswith("tier") else 2
        assert len(train) >= least and len(test) >= 2, name


def test_no_wording_holds_a_known_sound() -> None:
    said = [text for texts in wordings().values() for one in texts.values() for text in one]
    for text in (*said, *tier_templates.STANDINGS, *tier_templates.COMPARISONS):
        plain = "".join(literal for literal, *_ in Formatter().parse(text))
        found = read_explanation(plain)
        assert found.silent and not found.named, text


def test_words_without_punctuation_or_capitals_are_read_as_well(library: Library) -> None:
    rng = np.random.default_rng(0)
    pairs = [draw_pair(rng, EVERYTHING, library) for _ in range(50)]
    texts = [explain(3, pair, SIGNALS[:2], drawn(rng)) for pair in pairs]
    tokenizer = build_tokenizer(Words(), texts)
    for text in texts:
        spoken = tokenizer.decode(tokenizer.encode(text))
        assert "." not in spoken and spoken == spoken.lower()
        assert read_explanation(spoken) == read_explanation(text)


def test_sounds_count_where_the_change_cannot_be_read() -> None:
    said = read_explanation(
        "Audio 1 features dog bark and siren over background rain, whereas audio 2 features "
        "dog bark over background rain; in short, the engine of of louder got."
    )
    assert said.events == ({"dog_bark", "siren"}, {"dog_bark"})
    assert said.backgrounds == ({"rain"}, {"rain"})
    assert said.edits is None and said.named == {"dog_bark", "siren", "engine"}
    assert not said.silent


def test_the_change_counts_where_no_list_can_be_read() -> None:
    said = read_explanation("audio features whereas whereas; in short, the dog bark got louder.")
    assert said.edits == {Edit("louder", "dog_bark")}
    assert said.named == {"dog_bark"} and said.events == (set(), set())


def test_a_sentence_that_breaks_off_keeps_what_it_has_said() -> None:
    said = read_explanation("The first clip has rain as its background. Over it one hears a siren")
    assert said.events == ({"siren"}, set()) and said.backgrounds == ({"rain"}, set())
    assert said.edits is None


@pytest.mark.parametrize("text", ["", "audio 1 features", "add add add", "the first the second"])
def test_what_names_nothing_is_silent(text: str) -> None:
    said = read_explanation(text)
    assert said.silent and said.edits is None and said.overall == set()


def test_nothing_changed_beside_a_change_is_no_program() -> None:
    assert read_explanation("in short, nothing of note changed").edits == {Edit("none")}
    both = read_explanation("in short, nothing of note changed and the siren got louder")
    assert both.edits is None and both.named == {"siren"}


def test_louder_of_an_event_is_not_louder_as_a_whole() -> None:
    said = read_explanation("Comparing them, the siren got louder. Overall, the second clip is")
    assert said.overall == set() and said.edits == {Edit("louder", "siren")}
    said = read_explanation("Overall, the second clip is louder by 3 dB and more even.")
    assert said.overall == {"louder", "more even"} and said.edits is None


def test_labels_of_ones_own_are_read_when_given() -> None:
    text = "in short, the rock'n'roll got louder and the old printer disappeared"
    assert read_explanation(text).edits is None
    said = read_explanation(text, ("rock'n'roll", "old_printer"))
    assert said.edits == {Edit("louder", "rock'n'roll"), Edit("remove", "old_printer")}


def test_an_edit_of_the_background_names_no_event() -> None:
    said = read_explanation("the background rain became louder")
    assert said.edits == {Edit("background_louder", "rain")} and not said.named
    assert read_explanation("the rain became louder").edits == {Edit("louder", "rain")}
