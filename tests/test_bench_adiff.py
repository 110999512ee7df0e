"""The bench of explanations: ours and torch's have one size, take turns, and do what is timed."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from adiff_jax import bench_adiff
from adiff_jax.decode.generate import generate
from adiff_jax.decode.sampling import Greedy
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.objectives import Captioning
from adiff_jax.torch_layers import torch_gpt2, torch_module
from tests.top import tiny_adiff

TINY = Gpt2(layers=1, heads=2, width=8, positions=16, vocab_size=13)


@pytest.fixture
def tiny(monkeypatch):
    """Everything small, each call made once, and compiled without optimising."""
    sizes = {"LANGUAGE_MODEL": TINY, "PREFIX": 3, "TOKENS": 4, "DECODED": (1, 2)}
    sizes |= {"MODEL": tiny_adiff.adiff().model, "SECONDS": 1}
    for name, value in sizes.items():
        monkeypatch.setattr(bench_adiff, name, value)
    monkeypatch.setattr(bench_adiff, "torch_module", lambda threads: torch_module(1))
    made = []

    def once(calls, warm_up=0):
        made.extend(jax.block_until_ready(call()) for call in calls)
        return [[1.0 + number] * 2 for number in range(len(calls))]

    monkeypatch.setattr(bench_adiff, "take_turns", once)
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield made
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.slow
def test_every_measure_has_a_row_of_ours_and_one_of_torchs(tiny):
    rows = [row for many in (1, 2) for row in bench_adiff._decoding(many)]
    rows += [*bench_adiff._train_step(), *bench_adiff._product()]
    engines = {"jax", "torch"} if torch_gpt2(TINY) else {"jax"}
    measures = {(row.subject, row.what) for row in rows}
    assert len(measures) == 6  # prefill and decoding for either batch, train step and product
    assert {(row.subject, row.what, row.engine) for row in rows} == {
        (*measure, engine) for measure in measures for engine in engines
    }
    assert all(row.items > 0 for row in rows if row.unit != "MFLOP")  # of a tiny one, none


def test_decoding_is_what_a_long_generation_takes_longer_than_a_short_one(tiny):
    rows = [row for row in bench_adiff._decoding(2) if row.engine == "jax"]
    assert [(row.subject, row.timing.median, row.items) for row in rows] == [
        ("prefill", 1.0, 2),
        ("decoding", 1.0, 8),  # 2.0 - 1.0
    ]


@pytest.mark.slow
def test_without_torch_ours_is_timed_alone(tiny, monkeypatch):
    monkeypatch.setattr(bench_adiff, "torch_module", lambda threads: None)
    monkeypatch.setattr(bench_adiff, "DECODED", (2,))
    monkeypatch.setattr(bench_adiff, "_our_step", lambda *given: lambda: 0)  # has its own tests
    rows = list(bench_adiff.rows())
    assert {row.engine for row in rows} == {"jax"}
    assert [row.what.partition("ADIFF, ")[2] for row in rows if "ADIFF" in row.what] == [
        "batch 2, pairs of 1 s, audio to the prefix",
        "batch 2, pairs of 1 s, audio to 4 tokens",
        "stage 2, batch 2, on audio",
        "stage 2, batch 2, on cached embeddings",
        "stage 3, batch 2, on audio",
        "stage 3, batch 2, on cached embeddings",
    ]


@pytest.mark.slow
def test_a_whole_explanation_hears_the_clips_and_says_every_token(tiny):
    for row in bench_adiff._explaining(2):
        assert row.items == 2
    prefix, said = tiny[-2:]
    assert prefix.prefix.shape == (2, bench_adiff.MODEL.prefix_length, 16)
    assert np.asarray(said.mask).sum() == 2 * 4


@pytest.mark.slow
@pytest.mark.parametrize("batch", [bench_adiff._heard, bench_adiff._remembered])
def test_a_step_of_a_stage_is_one_of_training(tiny, batch):
    learning = replace(bench_adiff.MODEL, freeze_lm=False)
    step = bench_adiff._our_step(Captioning(learning), batch(2))
    first, second = step(), step()
    assert first["applied"] and second["applied"]
    assert float(first["loss"]) != float(second["loss"])


def test_torchs_language_model_has_the_parameters_of_ours(tiny):
    twin = torch_gpt2(TINY)
    if twin is None:
        pytest.skip("transformers is not installed")
    batch = bench_adiff._batch(1)
    shapes = jax.eval_shape(bench_adiff._Prefixed(TINY).init, jax.random.key(0), batch)
    ours = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert sum(parameter.numel() for parameter in twin.parameters()) == ours


def test_a_generation_says_as_many_tokens_as_are_timed(tiny):
    calls = bench_adiff._our_generation(2)
    assert calls["short", "jax"]().mask.shape == (2, 1, 1)
    assert np.asarray(calls["long", "jax"]().mask).sum() == 2 * (1 + 4)


def test_the_timed_decoding_is_that_of_teacher_forcing(tiny):
    batch, model = bench_adiff._batch(2), bench_adiff._Prefixed(TINY)
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    found = generate(model, variables, batch, Greedy(), max_tokens=4, stop_ids=())
    logits = model.apply(variables, batch.replace(tokens=found.tokens[:, 0])).logits
    np.testing.assert_array_equal(logits.argmax(axis=-1), found.tokens[:, 0])


def test_a_train_step_of_ours_lowers_the_loss(tiny, monkeypatch):
    monkeypatch.setattr(bench_adiff, "OPTIMIZER", bench_adiff.Optimizer(learning_rate=1e-2))
    update = bench_adiff._our_step(bench_adiff._Answering(TINY), bench_adiff._batch(2))
    losses = [float(update()["loss"]) for _ in range(5)]
    assert losses[-1] < losses[0]
