"""What training logs of sentences: flat names, for imperatives and for explanations."""

from dataclasses import replace

import pytest

from adiff_jax.data.schema import Truth
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.synth.library import Procedural
from adiff_jax.validate import readers_of, sentence_scores

SIZE = 16


def truths(tier: int) -> list[Truth]:
    made = Procedural(recordings_per_class=2)
    source = open_source(SynthPairs(made, split=f"of{tier}", size=SIZE, rate=8_000, tier=tier))
    return [source.truth(index) for index in range(SIZE)]


def said(examples: list[Truth], wrong: int = 0) -> list[str]:
    return ["hm" if i < wrong else truth.references[0] for i, truth in enumerate(examples)]


def test_imperatives_are_scored_by_their_edits_only() -> None:
    examples = truths(0)
    scores = sentence_scores(said(examples, wrong=4), examples)
    assert scores["program.exact"] == 0.75 and "operation.accuracy" in scores
    assert not [name for name in scores if name.startswith(("events", "tier_", "attributes"))]


@pytest.mark.parametrize("tier", [1, 3])
def test_explanations_are_scored_by_what_they_name_too(tier: int) -> None:
    examples = truths(tier)
    scores = sentence_scores(said(examples, wrong=4), examples)
    assert scores["program.exact"] == scores["unreadable.change"] * -1 + 1 == 0.75
    for name in ("events.f1", "clip_events.f1", "attributes.f1"):
        assert 0.5 < scores[name] < 1, name
    assert scores["hallucination.share"] == 0 and scores["attribution.right_clip"] == 1
    assert not [name for name in scores if name.startswith("tier_")]
    best = sentence_scores(said(examples), examples)
    assert best["events.f1"] == best["program.exact"] == 1


def test_several_tiers_are_scored_together_and_one_by_one() -> None:
    examples = {tier: truths(tier) for tier in (0, 1)}
    texts = said(examples[0], wrong=8) + said(examples[1], wrong=4)
    scores = sentence_scores(texts, examples[0] + examples[1])
    assert scores["tier_0/program.exact"] == 0.5 and scores["tier_1/program.exact"] == 0.75
    assert scores["program.exact"] == 0.625
    assert scores["events.f1"] == scores["tier_1/events.f1"] < 1
    assert "tier_0/events.f1" not in scores


def test_rows_that_ask_for_captions_change_no_score() -> None:
    examples = truths(1)
    captions = [replace(one, tier=0, prompt="caption both audios") for one in examples]
    alone = sentence_scores(said(examples, wrong=4), examples)
    both = sentence_scores(said(examples, wrong=4) + ["hm"] * SIZE, examples + captions)
    assert both == alone
    assert sentence_scores(["hm"] * SIZE, captions) == {}


def test_readers_know_every_label_that_is_heard() -> None:
    odd = replace(truths(1)[0], heard=(("old_printer",), ()), backgrounds=("my_hum", "my_hum"))
    read = readers_of([odd]).explanation("audio 1 has old printer over background my hum")
    assert read.events == ({"old_printer"}, set()) and read.backgrounds == ({"my_hum"}, set())
