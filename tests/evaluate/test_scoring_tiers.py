"""metrics.json of explanations: scores of each tier, of quartiles, and what is left out of them."""

import dataclasses

import numpy as np
import pytest

from adiff_jax.data.schema import Truth
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.synth.captions import read_edits
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.tier_reader import named_sounds, read_explanation
from adiff_jax.evaluate.captions import CaptionConfig
from adiff_jax.evaluate.difference import compare
from adiff_jax.evaluate.explanations import Readers
from adiff_jax.evaluate.predictions import Prediction
from adiff_jax.evaluate.scoring import ScoreConfig, highest, measure, score
from adiff_jax.evaluate.table import markdown_table

PLAIN = CaptionConfig(metrics=("bleu", "cider_d"), tokenization="plain")
CONFIG = ScoreConfig(PLAIN, resamples=100)
READERS = Readers(read_edits, read_explanation, named_sounds)
SIZE = 32


@pytest.fixture(scope="module")
def by_tier() -> dict[int, list[Truth]]:
    """Truths of the same pairs at every tier, 0 included."""
    made = Procedural(recordings_per_class=12)
    recipe = Recipe(duration=6.0, balance=True)
    found = {}
    for tier in range(4):
        config = SynthPairs(made, recipe, f"tier{tier}", SIZE, rate=8_000, tier=tier)
        found[tier] = [open_source(config).truth(index) for index in range(SIZE)]
    return found


def right(truths, wrong=0):
    """The reference of every example; of the first `wrong`, one that names nothing."""
    return [
        Prediction(truth.id, "hm" if place < wrong else truth.references[0])
        for place, truth in enumerate(truths)
    ]


def captioned(truths):
    """The same rows, asked for the caption of a clip."""
    return [
        dataclasses.replace(
            truth, id=f"caption{truth.id}", tier=0, prompt="caption both audios", edits=None
        )
        for truth in truths
    ]


def test_one_tier_has_its_explanations_scored_and_no_tiers(by_tier):
    result = score(right(by_tier[1], wrong=8), by_tier[1], CONFIG, readers=READERS)
    assert "tiers" not in result and "similarity" not in result
    own = result["explanations"]
    assert own["count"] == SIZE
    with_events = [any(truth.heard) for truth in by_tier[1]]
    expected = sum(with_events[8:]) / sum(with_events)
    assert 0.5 < expected < 1 and own["events"]["f1"] == pytest.approx(expected)
    assert own["hallucination"]["share"] == 0 and own["events"]["precision"] == 1
    low, high = result["intervals"]["explanations.events.f1"]
    assert low < own["events"]["f1"] < high
    assert result["missing"]["explanations.overall.f1"] == "it applies to no example"
    # The change is read from the explanation, also for the scores of programs.
    assert result["structured"]["program"]["exact"] == 0.75
    assert set(result["structured"]["operations"]) >= {"add", "louder", "background_quieter"}


def test_imperatives_have_no_scores_of_explanations(by_tier):
    result = score(right(by_tier[0]), by_tier[0], CONFIG, readers=READERS)
    assert result["structured"]["program"]["exact"] == 1
    assert not [name for name in ("explanations", "tiers") if name in result]
    assert not [name for name in result["missing"] if "explanations" in name]


def test_an_explanation_of_a_pair_that_asked_for_an_imperative_is_unreadable(by_tier):
    said = [
        Prediction(one.id, other.references[0])
        for one, other in zip(by_tier[0], by_tier[1], strict=True)
    ]
    result = score(said, by_tier[0], CONFIG, readers=READERS)
    assert result["structured"]["unreadable"]["share"] == 1


def test_each_of_several_tiers_is_scored_as_it_would_be_alone(by_tier):
    truths = by_tier[3] + by_tier[0] + by_tier[2]
    said = [row for tier in (0, 2, 3) for row in right(by_tier[tier], wrong=4 * tier)]
    result = score(said, truths, CONFIG, readers=READERS)
    assert set(result["tiers"]) == {"0", "2", "3"}
    for tier in (0, 2, 3):
        alone = score(right(by_tier[tier], 4 * tier), by_tier[tier], CONFIG, readers=READERS)
        own = result["tiers"][str(tier)]
        for group in ("captions", "structured", "explanations"):
            assert (group in own) == (group in alone)
            assert own.get(group) == alone.get(group)
        assert own["count"] == SIZE
    assert result["explanations"]["count"] == 2 * SIZE
    means = [result["tiers"][tier]["explanations"]["attributes"]["f1"] for tier in "23"]
    assert result["explanations"]["attributes"]["f1"] == pytest.approx(np.mean(means))
    ends = result["intervals"]["tiers.2.explanations.events.f1"]
    assert ends[0] < result["tiers"]["2"]["explanations"]["events"]["f1"] < ends[1]
    assert result["intervals"]["tiers.2.captions.cider_d"][1] > 1
    assert "tiers.0.explanations" not in result["missing"]


def test_rows_that_ask_for_captions_are_scored_as_captions_only(by_tier):
    rows = captioned(by_tier[1])
    truths = by_tier[1] + rows
    said = right(by_tier[1], wrong=8) + [Prediction(row.id, row.references[0]) for row in rows]
    result = score(said, truths, CONFIG, readers=READERS)
    alone = score(right(by_tier[1], wrong=8), by_tier[1], CONFIG, readers=READERS)
    for group in ("structured", "explanations"):
        assert result[group] == alone[group]
    assert result["count"] == 2 * SIZE and "structured.count" not in result["missing"]
    assert set(result["tiers"]) == {"1"}
    assert result["tiers"]["1"]["captions"] == alone["captions"]
    assert result["captions"]["bleu_4"] > alone["captions"]["bleu_4"]


def test_explanations_of_unknown_clips_are_said_to_be_missing(by_tier):
    unknown = [dataclasses.replace(truth, heard=None) for truth in by_tier[1]]
    result = score(right(unknown), unknown, CONFIG, readers=READERS)
    assert "clips of no example is known" in result["missing"]["explanations"]
    assert result["structured"]["program"]["exact"] == 1
    half = unknown[:12] + by_tier[1][12:]
    result = score(right(half), half, CONFIG, readers=READERS)
    assert result["missing"]["explanations.count"] == "what is heard in 12 is unknown"
    assert result["explanations"]["count"] == SIZE - 12
    result = score(right(half), half, CONFIG)
    assert result["missing"]["explanations"] == "no reader of explanations"


def test_scores_are_told_by_quartile_of_similarity_for_every_tier(by_tier):
    truths = by_tier[1] + by_tier[2]
    similarity = {truth.id: (7 * i % 64) / 64 for i, truth in enumerate(truths)}
    loud = [truth for truth in truths if similarity[truth.id] < 0.25]
    broken = {truth.id for truth in loud}
    said = [Prediction(t.id, "hm" if t.id in broken else t.references[0]) for t in truths]
    result = score(said, truths[::-1], CONFIG, readers=READERS, similarity=similarity)
    quartiles = result["similarity"]
    assert [quartiles[name]["count"] for name in "1234"] == [16] * 4
    assert quartiles["1"]["lowest"] == 0 and quartiles["4"]["highest"] == 63 / 64
    assert quartiles["1"]["explanations"]["events"]["f1"] == 0
    for name in "234":
        assert quartiles[name]["explanations"]["events"]["f1"] == 1
        for tier in "12":
            assert quartiles[name]["tiers"][tier]["explanations"]["events"]["f1"] == 1
    for tier in "12":
        assert quartiles["1"]["tiers"][tier]["explanations"]["events"]["f1"] == 0
    assert quartiles["4"]["captions"]["cider_d"] > 1
    del similarity[truths[0].id]
    with pytest.raises(ValueError, match="63 similarities do not fit 64 examples"):
        score(said, truths, CONFIG, readers=READERS, similarity=similarity)


def test_systems_are_compared_tier_by_tier(by_tier):
    truths = by_tier[1] + by_tier[3]
    ours = [row for tier in (1, 3) for row in right(by_tier[tier], wrong=2)]
    theirs = [row for tier in (1, 3) for row in right(by_tier[tier], wrong=10 * tier)]
    one, other = ([measure(said, truths, CONFIG, readers=READERS)] for said in (ours, theirs))
    found = compare(one, other, truths, CONFIG)
    first, third = (found[f"tiers.{tier}.explanations.attributes.f1"] for tier in (1, 3))
    assert 0 < first.mean < third.mean and third.low > 0
    assert -1 <= found["explanations.events.f1"].low < found["explanations.events.f1"].mean


def test_a_score_can_reach_as_much_in_a_tier_as_in_all():
    for prefix in ("", "tiers.1.", "similarity.2.tiers.3."):
        assert highest(f"{prefix}captions.cider_d") == 10
        assert highest(f"{prefix}captions.rouge_l") == 1


def test_the_table_shows_explanations_tiers_and_quartiles_where_there_are_any(by_tier):
    truths = by_tier[1] + by_tier[2]
    similarity = {truth.id: i / 64 for i, truth in enumerate(truths)}
    said = [row for tier in (1, 2) for row in right(by_tier[tier], wrong=4)]
    result = score(said, truths, CONFIG, readers=READERS, similarity=similarity)
    table = markdown_table({"ours": result})
    rows = {
        line.split("|")[1].strip(): line.split("|")[2].strip()
        for line in table.splitlines()
        if line.startswith("|")
    }
    own = result["explanations"]["events"]["f1"]
    assert rows["events.f1"].startswith(f"{100 * own:.1f} [")
    assert rows["hallucination.share"] == "0.0"
    for tier in (1, 2):
        value = result["tiers"][str(tier)]["explanations"]["events"]["f1"]
        assert rows[f"tier {tier}: events.f1"].startswith(f"{100 * value:.1f}")
        assert float(rows[f"tier {tier}: cider_d"].split()[0]) > 1
    assert rows["tier 1, similarity 1/4: events.f1"] != rows["tier 2, similarity 4/4: events.f1"]
    plain = score(right(by_tier[0]), by_tier[0], CONFIG, readers=READERS)
    assert "events.f1" not in markdown_table({"ours": plain})
    both = markdown_table({"ours": result, "imperatives": plain})
    assert "- explanations.events.f1: not computed (imperatives)" in both
