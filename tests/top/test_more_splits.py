"""Recipe files and tables that a run was not made with, asked of ADC and of ADIFF."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adiff_jax import cli, run
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.schema import Source
from adiff_jax.data.sources import Explanations, RecipeFile, SynthPairs, open_source
from adiff_jax.experiment import ConfigError
from adiff_jax.more_splits import with_recipe, with_table
from adiff_jax.run import Trained
from tests.top import tiny_adiff


def asked(trained: Trained, split: str) -> str:
    config = trained.parts.experiment.split(split)
    assert isinstance(config, Explanations)
    (tier,) = config.tiers
    return f"tier {tier}"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Six pairs explained in tiers 1 and 2."""
    of = tiny_adiff.explanations("test", 6)
    build_tables({"test": open_source(replace(of, tiers=(1, 2)))}, tmp_path / "mine", False)
    return tmp_path / "mine"


def test_adiff_is_asked_for_each_tier_of_a_recipe(adiff_trained: Trained) -> None:
    more, names = with_recipe(adiff_trained, "recipes/fold5.json", "esc")
    assert names == ("fold5_tier1", "fold5_tier2", "fold5_tier3")
    assert [asked(more, name) for name in names] == ["tier 1", "tier 2", "tier 3"]
    config = more.parts.experiment.split(names[0])
    assert isinstance(config, Explanations)
    assert config.pairs == RecipeFile("recipes/fold5.json", "esc", tiny_adiff.RATE)


@pytest.mark.slow
def test_adiff_is_scored_on_the_tiers_that_tables_hold(
    adiff_trained: Trained,
    tables: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere = replace(adiff_trained, directory=run.RunDirectory.at(tmp_path / "run"))
    monkeypatch.setattr(run, "load_trained", lambda path: elsewhere)
    cli.main(["evaluate", "run", "--table", str(tables)])
    said = capsys.readouterr().out
    assert "mine_tier1, greedy\n| " in said and "mine_tier2, greedy\n| " in said
    for tier in (1, 2):
        answers = (tmp_path / "run" / "predictions" / f"mine_tier{tier}.jsonl").read_text()
        ids = [json.loads(line)["id"] for line in answers.splitlines()]
        assert len(ids) == 6 and all(f"tier-{tier}" in name for name in ids)
    given = str(tmp_path / "run" / "predictions" / "mine_tier2.jsonl")
    scored = ["evaluate", "run", "--table", str(tables), "--predictions", given]
    cli.main([*scored, "--split", "mine_tier2"])
    assert capsys.readouterr().out.startswith("mine_tier2, given answers\n")
    with pytest.raises(SystemExit):
        cli.main([*scored, "--split", "pairs"])
    said = capsys.readouterr().err
    assert "--split 'pairs' is not one of --table: mine_tier1 | mine_tier2" in said


def test_adc_is_scored_on_tables(trained: Trained, test_pairs: Source, tmp_path: Path) -> None:
    build_tables({"test": test_pairs}, tmp_path / "mine", False)
    more, names = with_table(trained, str(tmp_path / "mine"))
    assert names == ("mine",) and len(open_source(more.parts.experiment.split("mine"))) > 0
    adiff = replace(trained, parts=replace(trained.parts, experiment=tiny_adiff.adiff()))
    with pytest.raises(ConfigError, match="holds no explanations, which ADIFF is asked"):
        with_table(adiff, str(tmp_path / "mine"))


def test_a_name_that_is_taken_is_refused(adiff_trained: Trained) -> None:
    for name in ("pairs", "train", "validation"):
        with pytest.raises(ConfigError, match=f"--recipe: tiny_adiff has a split '{name}' of its"):
            with_recipe(adiff_trained, f"there/{name}.json", "esc")


def test_a_source_that_asks_nothing_says_what_to_do(adiff_trained: Trained) -> None:
    pairs = tiny_adiff.explanations("test", 2).pairs
    assert isinstance(pairs, SynthPairs)
    encode = adiff_trained.parts.encode
    with pytest.raises(ValueError, match="states no prompt, .* needs Explanations"):
        encode(open_source(pairs)[0], 0)
