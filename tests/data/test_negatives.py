"""Negatives that are drawn before a batch is made: what they are, and when they are true."""

import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adiff_jax.data.identity import identity
from adiff_jax.data.negatives import Drawn, Negatives, edited, is_true_of, swap_is_true
from adiff_jax.data.order import RowOrder
from adiff_jax.data.pipeline import train_batches
from adiff_jax.data.schema import Clip, Edit, Example, Truth
from adiff_jax.data.sources import CaptionedMixes, Explanations, SynthPairs, open_source
from adiff_jax.data.synth.captions import read_edits
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.tokenizers import Words, build_tokenizer
from adiff_jax.data.transforms import Encode, EncodeConfig
from adiff_jax.matching import (
    AnotherCaption,
    EditedCaption,
    EpochCaption,
    InBatch,
    Matching,
    SwappedOrder,
)
from tests.data.toy_source import ToySource

RECIPE = Recipe(duration=1.0, event_seconds=(0.3, 0.6), balance=True, two_edits=0.5)
PAIRS = open_source(SynthPairs(Procedural(recordings_per_class=2), RECIPE, size=200))
CLIPS = open_source(CaptionedMixes(Procedural(recordings_per_class=2), size=60))


def described(source: Any, index: int) -> Example:
    return source.described(index)


class Numbered(ToySource):
    """Every example has a caption of its own."""

    def truth(self, index: int) -> Truth:
        return Truth(f"toy-{index}", (f"caption {index}",), None, ())


def test_another_caption_is_drawn_uniformly_and_never_the_own() -> None:
    draw, own = Negatives(AnotherCaption(), Numbered(10)), replace(ToySource(10)[7], edits=None)
    found = Counter(draw(own, 7, seed, 0) for seed in range(2000))
    assert {f"caption {i}" for i in range(10) if i != 7} == {text for text, _ in found}
    assert not any(true for _, true in found)
    assert all(170 < count < 280 for count in found.values())  # 222 expected


def test_draws_depend_on_the_draw_and_on_the_id_in_evaluation() -> None:
    draw, own = Negatives(AnotherCaption(), CLIPS), described(CLIPS, 3)
    assert draw(own, 3, 11, 0) == draw(own, 3, 11, 99)
    assert draw(own, 3, None, 0) == draw(own, 3, None, 5)
    assert len({draw(own, 3, seed, 0).text for seed in range(20)}) > 5


def test_a_caption_of_the_same_sounds_is_true() -> None:
    """Whatever the order and the wording; and each negative drawn is judged by that."""
    draw = Negatives(AnotherCaption(), CLIPS)

    def sounds(truth: Truth) -> tuple:
        return sorted(truth.heard[0]), truth.backgrounds

    captions = [(set(CLIPS.truth(i).references), CLIPS.truth(i)) for i in range(60)]
    judged = 0
    for index in range(60):
        own = described(CLIPS, index)
        for seed in range(40):
            text, true = draw(own, index, seed, 0)
            of = [truth for texts, truth in captions if text in texts]
            assert true == any(
                sounds(truth) == sounds(CLIPS.truth(index)) or truth.recordings == own.recordings
                for truth in of
            )
            judged += true
    assert 0 < judged < 60 * 40 / 2


def example(**fields: Any) -> Example:
    given = {"id": "own", "waves": (), "rate": 0, "captions": ("Add a dog.",)}
    return Example(**{**given, **fields})


def truth(**fields: Any) -> Truth:
    return Truth(**{"id": "other", "references": (), "edits": None, "recordings": (), **fields})


DOG, CAT = Edit("add", "dog"), Edit("remove", "cat")


@pytest.mark.parametrize(
    ("own", "other", "text", "true"),
    [
        ({}, {}, "something else", False),
        ({"id": "other"}, {}, "something else", True),
        ({}, {}, "add  a DOG", True),
        ({"recordings": ("a", "b")}, {"recordings": ("b", "a")}, "x", True),
        ({"recordings": ("a", "b")}, {"recordings": ("a",)}, "x", False),
        ({"edits": (DOG, CAT)}, {"edits": (CAT, DOG)}, "x", True),
        ({"edits": (DOG,)}, {"edits": (CAT,)}, "x", False),
        ({"heard": (("a", "b"),), "backgrounds": ("r",)},
         {"heard": (("b", "a"),), "backgrounds": ("r",)}, "x", True),
        ({"heard": (("a", "b"),), "backgrounds": ("r",)},
         {"heard": (("b", "a"),), "backgrounds": ("s",)}, "x", False),
    ],
)  # fmt: skip
def test_when_a_caption_is_known_to_be_true(own: dict, other: dict, text: str, true: bool) -> None:
    assert is_true_of(example(**own), truth(**other), text) is true


def test_an_edited_caption_states_one_edit_the_other_way_round() -> None:
    stated = 0
    for index in range(len(PAIRS)):
        own = described(PAIRS, index)
        text, true = edited(own, np.random.PCG64(index))
        if own.edits == (Edit("none"),):
            assert (text, true) == (None, True)
            continue
        said = read_edits(text, tuple(PAIRS.library.labels))
        differing = frozenset(own.edits) - said
        assert len(differing) == 1
        assert len(said) == len(own.edits)
        assert not true
        stated += 1
    assert stated > 100


def test_add_becomes_remove() -> None:
    own = example(edits=(Edit("add", "dog_bark"),), captions=("add a dog bark",))
    assert read_edits(edited(own, np.random.PCG64(0)).text) == {Edit("remove", "dog_bark")}


@pytest.mark.parametrize("fields", [{"edits": None}, {"tier": 1}, {"prompt": "caption"}])
def test_other_sentences_cannot_be_edited(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="turns instructions of made pairs"):
        edited(example(**{"edits": (DOG,), **fields}), np.random.PCG64(0))


@pytest.mark.parametrize(
    ("edits", "true"),
    [
        ((Edit("none"),), True),
        ((DOG,), False),
        ((Edit("replace", "dog", "cat"),), False),
        ((Edit("replace", "dog", "cat"), Edit("replace", "cat", "dog")), True),
        (None, False),
    ],
)
def test_when_the_sentence_stays_true_of_exchanged_clips(edits: Any, true: bool) -> None:
    assert swap_is_true(example(edits=edits)) is true


def test_a_caption_of_one_clip_of_a_pair_says_nothing_of_their_order() -> None:
    rows = open_source(Explanations(SynthPairs(Procedural(), size=4), (1,), captioning=0.5))
    asked = [described(rows, index) for index in range(len(rows))]
    assert {swap_is_true(one) for one in asked if one.tier == 0} == {True}
    assert any(not swap_is_true(one) for one in asked if one.tier == 1)


def test_negatives_answer_the_same_question() -> None:
    rows = open_source(Explanations(SynthPairs(Procedural(), size=30), (1,), captioning=0.3))
    prompts = {text: rows.truth(i).prompt for i in range(len(rows)) for text in
               rows.truth(i).references}  # fmt: skip
    draw = Negatives(AnotherCaption(), rows)
    for index in range(0, len(rows), 5):
        own = described(rows, index)
        assert prompts[draw(own, index, index, 0).text] == own.prompt


def test_where_nothing_else_answers_the_question_the_own_sentence_stays_and_is_true() -> None:
    own = replace(ToySource(3)[0], prompt="a question of its own")
    assert Negatives(AnotherCaption(), ToySource(3))(own, 0, 1, 0) == Drawn(None, True)


def test_an_epoch_has_one_caption() -> None:
    draw = Negatives(EpochCaption(rows=10), CLIPS, seed=3)
    found = [draw(described(CLIPS, i % 60), i % 60, 5 * i, i).text for i in range(60)]
    assert all(len(set(found[k : k + 10])) == 1 for k in range(0, 60, 10))
    assert len(set(found)) > 3
    whole = Negatives(EpochCaption(), CLIPS)
    assert len({whole(described(CLIPS, i), i, i, i).text for i in range(60)}) == 1
    with pytest.raises(ValueError, match="EpochCaption.rows is -1"):
        EpochCaption(rows=-1)


def test_a_source_of_one_example_has_no_other_caption() -> None:
    with pytest.raises(ValueError, match="there is no other caption"):
        Negatives(AnotherCaption(), ToySource(1))
    Negatives(SwappedOrder(), ToySource(1))


ENCODE = EncodeConfig(seconds=1.0, max_tokens=32)


def encoded(kind: Any, source: Any = PAIRS) -> Encode:
    tokenizer = build_tokenizer(Words(), source.texts())
    return Encode(ENCODE, tokenizer, negatives=Negatives(kind, source))


@pytest.mark.parametrize(
    "kind", [AnotherCaption(), EditedCaption()], ids=lambda k: type(k).__name__
)
def test_rows_carry_their_negative(kind: Any) -> None:
    encode = encoded(kind)
    for index in range(6):
        row = encode(PAIRS[index], index, 17, index)
        text, true = encode.negatives(PAIRS[index], index, 17, index)
        assert row["negative_true"] == true
        shown = encode.tokenizer.decode(row["negative"][row["negative_mask"]].tolist())
        own = encode.tokenizer.decode(row["tokens"][row["tokens_mask"]].tolist())
        assert shown == (own if text is None else text)


@pytest.mark.parametrize("kind", [SwappedOrder(), InBatch()], ids=lambda k: type(k).__name__)
def test_rows_without_a_sentence_of_another_say_whether_their_own_stays_true(kind: Any) -> None:
    encode = encoded(kind)
    found = []
    for index in range(11):
        row = encode(PAIRS[index], index, 17, index)
        assert "negative" not in row
        found.append(bool(row["negative_true"]))
    assert any(found) == isinstance(kind, SwappedOrder)


@pytest.mark.parametrize(
    "kind", [AnotherCaption(), EpochCaption(rows=4)], ids=lambda k: type(k).__name__
)
def test_batches_are_the_same_on_any_number_of_processes(kind: Any) -> None:
    order, encode = RowOrder(len(PAIRS), seed=4), encoded(kind)

    def rows(processes: int) -> list[dict[str, np.ndarray]]:
        parts = [
            list(train_batches(PAIRS, encode, order, 4, 0, p, processes, steps=2))
            for p in range(processes)
        ]
        return [
            {name: np.concatenate([part[step][name] for part in parts]) for name in parts[0][step]}
            for step in range(2)
        ]

    for one, two in zip(rows(1), rows(2), strict=True):
        assert one.keys() == two.keys() >= {"negative", "negative_mask", "negative_true"}
        for name in one:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_a_worker_can_receive_them() -> None:
    draw = Negatives(AnotherCaption(), CLIPS)
    again = pickle.loads(pickle.dumps(draw))
    assert again(described(CLIPS, 2), 2, 5, 0) == draw(described(CLIPS, 2), 2, 5, 0)


def test_ids_are_equal_where_examples_are() -> None:
    clips = (Clip("a"), Clip("b"))
    given = {"scene": "s", "clips": clips, "prompt": "p", "captions": ("x", "y")}
    one = identity(example(id="1", edits=(DOG, CAT), **given))
    two = identity(example(id="2", edits=(CAT, DOG), **{**given, "captions": ("y", "x")}))
    assert one == two
    other = {"scene": "t", "clips": clips[::-1], "prompt": "q", "captions": ("x",)}
    apart = identity(example(id="3", edits=(CAT,), **other))
    assert all(one[name] != apart[name] for name in one)


def test_what_is_not_known_of_an_example_is_its_own() -> None:
    bare = [identity(example(id=name, captions=())) for name in ("x", "y")]
    assert [name for name in bare[0] if bare[0][name] == bare[1][name]] == ["question_id"]
    scenes = [identity(example(id=name, scene="s")) for name in ("x", "y")]
    assert scenes[0]["content_id"] == scenes[1]["content_id"]
    unlike = [identity(example(id="x", scene="s", edits=(edit,))) for edit in (DOG, CAT)]
    assert unlike[0]["content_id"] != unlike[1]["content_id"]
    heard = [
        identity(example(id=n, recordings=r)) for n, r in (("x", ("a", "b")), ("y", ("b", "a")))
    ]
    assert heard[0]["source_id"] == heard[1]["source_id"]


def test_a_clip_paired_with_itself_has_no_order() -> None:
    same, wave = (Clip("a"), Clip("a")), np.ones(4, np.float32)
    assert swap_is_true(example(clips=same, tier=1))
    assert swap_is_true(example(waves=(wave, wave.copy())))
    assert not swap_is_true(example(waves=(wave, 2 * wave), clips=(Clip("a"), Clip("b"))))


def test_pairs_of_the_same_sounds_and_other_edits_are_told_apart() -> None:
    sounds = {"heard": (("dog",), ("dog",)), "backgrounds": ("rain", "rain")}
    louder, quieter = Edit("louder", "dog"), Edit("quieter", "dog")
    assert not is_true_of(
        example(edits=(louder,), **sounds), truth(edits=(quieter,), **sounds), "x"
    )
    assert is_true_of(example(**sounds), truth(**sounds), "x")


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="set matching to None"):
        Matching(weight=0.0)
