"""Explanations in tiers, position captioning, and the captions of made clips."""

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adiff_jax.data.builders.table_source import Table
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.explanations import KINDS, ExplanationRows, both, captioning_targets
from adiff_jax.data.prompts import CANONICAL, kind_of
from adiff_jax.data.schema import (
    OPERATIONS,
    Captioned,
    Coverage,
    Described,
    Example,
    Foretelling,
    Truth,
)
from adiff_jax.data.sources import (
    Explanations,
    NaturalPairs,
    RecipeFile,
    SynthPairs,
    open_source,
)
from adiff_jax.data.synth import made
from adiff_jax.data.synth.clip_captions import describe
from adiff_jax.data.synth.layouts import Recording
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.made import EditedPairs
from adiff_jax.data.synth.phrases import noun
from adiff_jax.data.synth.recipe import Recipe, Weights
from adiff_jax.data.synth.scenes import Event, Layer, Scene
from adiff_jax.data.tokenizers import BytePairs, Words, build_tokenizer, vocabulary_gaps

RATE = 8_000
EVERYTHING = Weights(*[1.0] * len(OPERATIONS))
RECIPE = Recipe(duration=7.0, weights=EVERYTHING, two_edits=0.5, balance=True)
PAIRS = SynthPairs(Procedural(recordings_per_class=2), RECIPE, size=12, rate=RATE)


def opened(config: Explanations) -> ExplanationRows:
    source = open_source(config)
    assert isinstance(source, ExplanationRows)
    return source


def kinds(source: ExplanationRows) -> list[str]:
    return [kind_of(source.truth(index).prompt) for index in range(len(source))]


@pytest.mark.parametrize("stored", [False, True], ids=["made", "table"])
def test_rows_are_described_as_they_are_read(stored: bool, tmp_path: Path) -> None:
    config = Explanations(PAIRS, captioning=0.25)
    if stored:
        build_tables({"train": opened(config)}, tmp_path, progress=False)
        config = Explanations(Table(str(tmp_path)), captioning=0.1)
    source = opened(config)
    assert isinstance(source, Described)
    for index in (0, 1, 2, len(source) - 1):
        read = source[index]
        assert source.described(index) == replace(read, waves=(), rate=0)
        assert read.clips == read.described_clips


# --- tiers --------------------------------------------------------------------------------------


def test_every_pair_is_explained_in_every_tier() -> None:
    source = opened(Explanations(PAIRS))
    assert len(source) == 36
    for index in range(36):
        tier = index % 3 + 1
        alone = open_source(replace(PAIRS, tier=tier)).truth(index // 3)
        assert source.truth(index) == replace(alone, id=f"train/{index // 3:06d}/tier-{tier}")
    assert len({source.truth(index).id for index in range(36)}) == 36


def test_tiers_can_be_had_alone_and_in_any_choice() -> None:
    assert kinds(opened(Explanations(PAIRS, (2,)))) == ["tier-2"] * 12
    assert kinds(opened(Explanations(PAIRS, (3, 1))))[:3] == ["tier-3", "tier-1", "tier-3"]


def test_clips_of_a_pair_are_the_same_in_every_tier_and_stored_once(tmp_path: Path) -> None:
    source = opened(Explanations(PAIRS, captioning=0.25))
    first, second = source[0], source[1]
    assert first.clips == second.clips and first.scene == second.scene
    np.testing.assert_array_equal(first.waves[1], second.waves[1])
    report = build_tables({"train": source}, tmp_path, progress=False)
    assert report.clips == {"train": 24} and report.pairs == {"train": 48}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((PAIRS, ()), r"Explanations.tiers is \(\)"),
        ((PAIRS, (1, 4)), r"Explanations.tiers is \(1, 4\)"),
        ((PAIRS, (1, 1)), r"Explanations.tiers is \(1, 1\)"),
        ((PAIRS, (1,), 1.0), "Explanations.captioning is 1.0"),
        ((PAIRS, (1,), -0.1), "Explanations.captioning is -0.1"),
        ((replace(PAIRS, tier=2),), "leave SynthPairs.tier at 0"),
    ],
)
def test_settings_out_of_range_are_named(arguments: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Explanations(*arguments)


def test_the_fixed_test_sets_are_explained_but_raw_pairs_are_not(data_directory: Path) -> None:
    recipes = Path(__file__).parents[2] / "configs" / "recipes"
    folder = str(data_directory / "esc10")
    fixed = RecipeFile(str(recipes / "esc10_single.json"), folder, RATE)
    source = opened(Explanations(fixed, (1,)))
    plain = open_source(fixed)
    assert len(source) == 1200
    assert source.truth(7).id == "single/000007/tier-1"
    assert source.truth(7).edits == plain.truth(7).edits
    natural = replace(fixed, path=str(recipes / "esc10_natural.json"))
    with pytest.raises(ValueError, match="RecipeFile gives RawPairs, which have no explanations"):
        open_source(Explanations(natural))


def test_the_texts_hold_every_word_of_explanations_and_captions() -> None:
    source = opened(Explanations(replace(PAIRS, size=44, seed=3), captioning=0.5))
    # The words must come from the corpus, not from the pairs themselves.
    other = opened(Explanations(replace(PAIRS, size=1, seed=0), captioning=0.5))
    tokenizer = build_tokenizer(Words(), other.texts())
    said = [text for index in range(len(source)) for text in source.truth(index).references]
    assert vocabulary_gaps(tokenizer, said) == {}


# --- position captioning ------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_so_many_rows_ask_for_captions(share: float) -> None:
    source = opened(Explanations(replace(PAIRS, size=200), (1, 2), share))
    asked = sum(kind in KINDS for kind in (kind_of(_prompt(source, i)) for i in range(len(source))))
    assert asked / len(source) == pytest.approx(share, abs=0.001)
    assert len(source) - asked == 400


def _prompt(source: ExplanationRows, index: int) -> str:
    question = source._question(index)
    return CANONICAL["tier-1" if question is None else question[1]]


def test_questions_are_spread_evenly_over_pairs_and_kinds_and_none_comes_twice() -> None:
    source = opened(Explanations(replace(PAIRS, size=300), (1,), 0.5))
    truths = [source.truth(index) for index in range(300, 600)]
    assert len({truth.id for truth in truths}) == 300
    assert len({truth.id.rsplit("/", 1)[0] for truth in truths}) == 300
    counts = Counter(kind_of(truth.prompt) for truth in truths)
    assert counts.keys() == set(KINDS) and min(counts.values()) > 75
    # Operations come in turn over the pairs; each is asked about in every kind.
    operations = open_source(PAIRS).recipe.weights.drawn()
    asked = {(index % len(operations), truths[index].prompt) for index in range(300)}
    assert len(asked) == 3 * len(operations)


def test_the_largest_share_asks_every_question_once() -> None:
    source = opened(Explanations(PAIRS, (1,), 0.75))
    truths = [source.truth(index) for index in range(12, 48)]
    assert len({truth.id for truth in truths}) == 36 == len(truths)
    with pytest.raises(ValueError, match=r"captioning is 0.8; .* 0.75 at most"):
        opened(Explanations(PAIRS, (1,), 0.8))


def test_captions_answer_the_question_that_is_asked() -> None:
    source = opened(Explanations(PAIRS, (1,), 0.75))
    for index in range(12, 48):
        example = source[index]
        first, second = (clip.captions for clip in example.clips)
        match kind_of(example.prompt):
            case "caption-first":
                assert example.captions == first
            case "caption-second":
                assert example.captions == second
            case "caption-both":
                assert all(one in text for one, text in zip(first, example.captions, strict=True))
                assert all(two in text for two, text in zip(second, example.captions, strict=True))
        assert example.tier == 0 and example.edits is None
        assert source.truth(index) == Truth(
            example.id, example.captions, None, example.recordings, example.prompt, 0
        )


def test_both_captions_are_said_in_order_and_every_caption_occurs() -> None:
    assert both("a dog", "rain") == "Audio 1: a dog; audio 2: rain"
    assert captioning_targets("caption-both", (("a", "b", "c"), ("x", "y"))) == (
        both("a", "x"),
        both("b", "y"),
        both("c", "x"),
    )
    with pytest.raises(ValueError, match="a clip has no captions"):
        captioning_targets("caption-first", (("a",), ()))


def test_captioning_and_tier_1_make_no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(recording: Recording) -> np.ndarray:
        raise AssertionError(f"{recording.name} was decoded")

    source = opened(Explanations(PAIRS, (1,), 0.5))
    everything = opened(Explanations(PAIRS, (1, 2, 3), 0.5))
    monkeypatch.setattr(made, "render_pair", refuse)
    for index in range(len(source)):
        source.truth(index)
    assert list(source.texts())
    for index in range(len(everything)):
        assert everything.longest_texts(index)
        everything.clip_captions(index)
    for index in range(36, 72):
        everything.truth(index)


def test_rows_are_the_same_in_every_copy() -> None:
    source = opened(Explanations(PAIRS, captioning=0.3))
    copy = pickle.loads(pickle.dumps(source))
    assert len(copy) == len(source)
    for index in (0, 1, 2, 40, len(source) - 1):
        one, other = source[index], copy[index]
        assert replace(one, waves=()) == replace(other, waves=())
        np.testing.assert_array_equal(one.waves[0], other.waves[0])
    for index in (-1, len(source)):
        with pytest.raises(IndexError, match="of a source of"):
            source.truth(index)


# --- tables -------------------------------------------------------------------------------------


class Rows:
    """Explained pairs of which the last has no tier 3."""

    coverage = Coverage(3, 4, 6, 7)

    def __init__(self) -> None:
        self.examples = [
            Example(
                id=f"acd/{pair}/tier-{tier}",
                waves=(np.full(400, 0.1, np.float32), np.full(400, 0.2, np.float32)),
                rate=RATE,
                captions=(f"answer {pair} {tier}",),
                recordings=(f"r{pair}",),
                prompt=CANONICAL[f"tier-{tier}"],
                tier=tier,
            )
            for pair in range(3)
            for tier in (1, 2, 3)
        ][:-1]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    def truth(self, index: int) -> Truth:
        e = self.examples[index]
        return Truth(e.id, e.captions, None, e.recordings, e.prompt, e.tier)

    def clip_captions(self, index: int) -> tuple[tuple[str, ...], ...]:
        pair = self.examples[index].id[4]
        return (f"one of {pair}",), (f"two of {pair}",)

    def texts(self) -> list[str]:
        return [example.captions[0] for example in self.examples]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    build_tables({"train": Rows()}, tmp_path / "t", progress=False)
    return Table(str(tmp_path / "t"))


def test_tiers_of_a_table_are_chosen_and_captions_added(table: Table) -> None:
    source = opened(Explanations(table, (3,)))
    assert [source.truth(index).id for index in range(len(source))] == [
        "acd/0/tier-3",
        "acd/1/tier-3",
    ]
    source = opened(Explanations(table, captioning=0.5))
    assert len(source) == 16
    asked = [source.truth(index) for index in range(8, 16)]
    assert len({truth.id for truth in asked}) == 8  # of nine: three pairs, three questions
    for truth in asked:
        pair, kind = truth.id.removeprefix("acd/").split("/")
        captions = Rows().clip_captions(3 * int(pair))
        assert truth.references == captioning_targets(kind, captions)
        assert truth.recordings == (f"r{pair}",)
    assert source[15].captions == asked[-1].references
    assert {*source.texts()} >= {t for truth in asked for t in truth.references if "Audio 1" in t}
    assert source.coverage == Coverage(3, 4, 6, 7)


def test_a_table_without_the_tier_or_without_captions_is_refused(tmp_path: Path) -> None:
    rows = Rows()
    rows.examples = [example for example in rows.examples if example.tier != 3]
    rows.clip_captions = lambda index: ((), ())  # type: ignore[method-assign]
    build_tables({"train": rows}, tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"tiers is \(3,\); the pairs have tier 1, 2"):
        open_source(Explanations(Table(str(tmp_path)), (3,)))
    with pytest.raises(ValueError, match="pair acd/0: a clip has no captions"):
        open_source(Explanations(Table(str(tmp_path)), captioning=0.2))


def test_a_pair_is_measured_once_for_all_of_its_rows(monkeypatch: pytest.MonkeyPatch):
    render, rendered = made.render_pair, list[Scene]()

    def counting(first: Scene, second: Scene, library: Any) -> Any:
        rendered.append(first)
        return render(first, second, library)

    monkeypatch.setattr(made, "render_pair", counting)
    pairs = open_source(Explanations(replace(PAIRS, seed=77, size=2), (2, 3)))
    for index in range(len(pairs)):
        pairs.truth(index), pairs.described(index)
    assert len(rendered) == 2


# --- captions of made clips ---------------------------------------------------------------------

RAIN = (Layer("rain", "rain/0", 0.0),)


def event(label: str, onset: float) -> Event:
    return Event(label, "", onset, 3.0, 10.0, 0.0)


def test_a_caption_names_everything_that_is_heard_in_order() -> None:
    scene = Scene(10.0, -35.0, RAIN, (event("dog_bark", 5.0), event("rooster", 1.0)))
    captions = [text for split in ("train", "test") for text in describe(scene, split)]
    assert len(set(captions)) == 8
    for text in captions:
        assert text.index("rooster crow") < text.index("dog bark") and "rain" in text.lower()
    assert describe(scene)[0] == "A rooster crow, then a dog bark over rain"
    alone = describe(Scene(10.0, -35.0, RAIN, ()))
    assert all("rain" in text.lower() for text in alone) and "Only rain can be heard" in alone


def test_captions_of_made_pairs_are_those_of_their_scenes() -> None:
    for templates in ("train", "test"):
        source = open_source(replace(PAIRS, templates=templates))
        assert isinstance(source, EditedPairs) and isinstance(source, Captioned)
        for index in range(12):
            scenes = source.scenes(index)
            for scene, captions in zip(
                (scenes.first, scenes.second), source.clip_captions(index), strict=True
            ):
                assert captions == describe(scene, templates)
                for label in scene.labels():
                    assert noun(label) in captions[0].lower()
        example = source[3]
        assert tuple(clip.captions for clip in example.clips) == source.clip_captions(3)
        assert {r for clip in example.clips for r in clip.recordings} == {*example.recordings}
    train, test = (
        {text for index in range(12) for both in found for text in both}
        for found in (
            [open_source(replace(PAIRS, templates=t)).clip_captions(i) for i in range(12)]
            for t in ("train", "test")
        )
    )
    assert not train & test


# --- lengths foretold ---------------------------------------------------------------------------


def test_no_explanation_is_longer_than_what_is_foretold_without_audio() -> None:
    source = opened(Explanations(replace(PAIRS, size=44, rate=16_000)))
    assert isinstance(source, Foretelling)
    foretold = [source.longest_texts(index) for index in range(len(source))]
    said = [source.truth(index).references for index in range(len(source))]
    texts = list(source.texts())
    for config in (Words(), BytePairs(400), BytePairs(1500)):
        tokenizer = build_tokenizer(config, texts)
        spare = [
            max(len(tokenizer.encode(text)) for text in longest) - len(tokenizer.encode(*found))
            for longest, found in zip(foretold, said, strict=True)
        ]
        assert min(spare) >= 0, config
        assert max(spare[0::3]) == 0  # of tier 1 nothing is measured
        assert np.mean(spare[2::3]) < 25


def test_raw_pairs_have_no_captions_of_their_clips() -> None:
    assert not isinstance(open_source(NaturalPairs(PAIRS.recordings, rate=RATE)), Captioned)
