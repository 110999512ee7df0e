"""Beam search against enumeration of every sentence and against its plain definition."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from adiff_jax.decode.beam import Beam
from adiff_jax.decode.generate import generate
from adiff_jax.decode.sampling import Greedy
from tests.decode.toys import (
    STOP,
    MarkovCaptioner,
    batch_of,
    every_sentence,
    markov_steps,
    plain_beam,
    recurrent,
    steps_of,
)


def sentences(generation, row):
    """The sentences of a row as tuples, absent ones left out."""
    tokens, mask = np.asarray(generation.tokens[row]), np.asarray(generation.mask[row])
    return [tuple(t[m]) for t, m in zip(tokens, mask, strict=True) if m.any()]


def check_against(expected, generation, row, rtol=2e-5):
    count = generation.tokens.shape[1]
    assert sentences(generation, row) == [tokens for _, _, tokens in expected[:count]]
    np.testing.assert_allclose(generation.score[row], [s for s, _, _ in expected[:count]], rtol)
    np.testing.assert_allclose(generation.logprob[row], [p for _, p, _ in expected[:count]], rtol)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sentences_of_a_markov_model(alpha):
    tables = np.random.default_rng(5).normal(size=(3, 4, 3)) * 2
    found = generate(
        MarkovCaptioner(3),
        {},
        batch_of(tables),
        Beam(size=100, n_best=5, length_penalty=alpha),
        max_tokens=5,
        stop_ids=(STOP,),
    )
    assert found.finished.all()
    for row, table in enumerate(tables):
        check_against(every_sentence(markov_steps(table), 3, 5, STOP, alpha), found, row)


@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_a_wide_beam_finds_the_best_of_all_sentences_of_a_recurrent_model(alpha):
    model, variables, batch, features = recurrent(vocabulary=4, rows=2)
    found = generate(
        model,
        variables,
        batch,
        Beam(size=110, n_best=6, length_penalty=alpha),
        max_tokens=4,
        stop_ids=(STOP,),
    )
    for row in range(2):
        step = steps_of(model, variables, features[row], 4)
        check_against(every_sentence(step, 4, 4, STOP, alpha), found, row)


@pytest.mark.parametrize(
    ("size", "n_best", "alpha"), [(2, 1, 0.0), (3, 2, 0.7), (4, 4, 0.0), (4, 1, 2.0)]
)
def test_a_narrow_beam_prunes_as_defined_and_stopping_early_changes_nothing(size, n_best, alpha):
    model, variables, _, features = recurrent(vocabulary=7, rows=12, seed=2)
    beam = Beam(size=size, n_best=n_best, length_penalty=alpha)
    steps = []
    for row in range(12):
        # One row at a time: no other row keeps the search going.
        alone = batch_of(features[row : row + 1])
        found = generate(model, variables, alone, beam, max_tokens=7, stop_ids=(STOP,))
        step = steps_of(model, variables, features[row], 7)
        check_against(plain_beam(step, 7, 7, STOP, size, alpha), found, 0)
        steps.append(int(found.steps))
    if n_best < size:
        assert min(steps) < 7


def each_ending(step, vocabulary, longest, stop, size):
    """`plain_beam` of sums in which a stop ends a hypothesis if it is likely after it: (logprob,
    tokens), best first."""
    opened, finished = [(0.0, ())], []
    for _ in range(longest):
        going = []
        for logprob, tokens in opened:
            after = step(tokens)
            going += [(logprob + after[t], (*tokens, t)) for t in range(vocabulary) if t != stop]
            if stop in np.argsort(-after)[:size]:
                finished.append((logprob + after[stop], (*tokens, stop)))
        opened = sorted(going, reverse=True)[:size]
    return (sorted(finished, reverse=True) + opened)[:size]


@pytest.mark.parametrize(
    ("size", "n_best"),
    [*(pytest.param(*few, marks=pytest.mark.slow) for few in ((1, 1), (2, 1))), (3, 3), (9, 4)],
)
def test_every_hypothesis_ends_for_itself_as_defined(size, n_best):
    model, variables, _, features = recurrent(vocabulary=7, rows=12, seed=2)
    variables["params"]["head"]["bias"] -= 2.0 * (np.arange(7) == STOP)  # rarely the likeliest
    others = 0
    for row in range(12):
        step = steps_of(model, variables, features[row], 7)
        expected = [(p, p, tokens) for p, tokens in each_ending(step, 7, 7, STOP, size)]
        others += expected[0][2] != plain_beam(step, 7, 7, STOP, size)[0][2]
        found = generate(
            model,
            variables,
            batch_of(features[row : row + 1]),
            Beam(size, n_best=n_best, stops="each"),
            max_tokens=7,
            stop_ids=(STOP,),
        )
        check_against(expected, found, 0)
    assert others or size not in (2, 3)  # than without the option


def test_a_stop_that_is_likely_only_after_its_hypothesis_ends_it_where_each_may_end():
    # After 0 the stop is second, but both extensions of 2 are likelier.
    table = np.full((5, 4), -50.0)
    table[-1, [2, 0]] = np.log([0.9, 0.1])
    table[0, [0, STOP]] = np.log([0.6, 0.4])
    table[2:4, [2, 3]] = np.log([0.5, 0.5])
    limits = {"max_tokens": 2, "stop_ids": (STOP,)}
    batch = batch_of(table[None])
    best = generate(MarkovCaptioner(4), {}, batch, Beam(2), **limits)
    each = generate(MarkovCaptioner(4), {}, batch, Beam(2, stops="each"), **limits)
    assert not best.finished.any() and each.finished.all()
    assert sentences(each, 0) == [(0, STOP)]
    np.testing.assert_allclose(each.score, [[np.log(0.04)]], rtol=1e-5)


def test_a_beam_of_one_is_greedy():
    model, variables, batch, _ = recurrent(vocabulary=7, rows=6, seed=4)
    limits = {"max_tokens": 7, "stop_ids": (STOP,)}
    beam = generate(model, variables, batch, Beam(size=1), **limits)
    greedy = generate(model, variables, batch, Greedy(), **limits)
    assert 0 < greedy.finished.sum() < 6  # both kinds of ending are compared
    for name in ("tokens", "mask", "length", "finished", "steps"):
        np.testing.assert_array_equal(getattr(beam, name), getattr(greedy, name), err_msg=name)
    np.testing.assert_allclose(beam.logprob, greedy.logprob, rtol=1e-6)


def test_a_row_alone_finds_what_it_finds_among_others():
    model, variables, batch, features = recurrent(vocabulary=7, rows=6, seed=7)
    settings = {"max_tokens": 7, "stop_ids": (STOP,)}
    beam = Beam(size=3, n_best=3, length_penalty=0.5)
    together = generate(model, variables, batch, beam, **settings)
    for row in range(6):
        alone = generate(model, variables, batch_of(features[row : row + 1]), beam, **settings)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
        np.testing.assert_array_equal(alone.finished[0], together.finished[row])
        np.testing.assert_allclose(alone.score[0], together.score[row], rtol=1e-5)


def test_finished_hypotheses_precede_open_ones_and_each_kind_is_sorted():
    # Token 0 is likely and never leads to the stop; the stop is possible at the first step only.
    table = np.full((4, 3), -np.inf)
    table[3] = [2.0, 0.0, 0.0]
    table[0, 0] = table[2, 2] = 0.0
    found = generate(
        MarkovCaptioner(3),
        {},
        batch_of(table[None]),
        Beam(size=3, n_best=3),
        max_tokens=4,
        stop_ids=(STOP,),
    )
    assert sentences(found, 0) == [(1,), (0, 0, 0, 0), (2, 2, 2, 2)]
    assert found.finished[0].tolist() == [True, False, False]
    assert found.score[0, 1] > found.score[0, 0]  # kept apart, not ranked together
    assert found.score[0, 1] > found.score[0, 2]


def test_hypotheses_that_do_not_exist_are_masked_with_no_probability():
    table = np.full((3, 2), -np.inf)
    table[2, STOP] = 0.0
    table[:2, 0] = 0.0
    found = generate(
        MarkovCaptioner(2),
        {},
        batch_of(table[None]),
        Beam(size=4, n_best=4),
        max_tokens=3,
        stop_ids=(STOP,),
    )
    assert sentences(found, 0) == [(STOP,)]
    assert found.logprob[0].tolist() == [0.0] + [-np.inf] * 3
    assert found.length[0].tolist() == [1, 0, 0, 0]
    assert not found.tokens[0, 1:].any()


def test_length_penalty_waits_for_a_longer_sentence_that_will_score_better():
    # Stopping at once has probability 0.6; the other 0.4 lead surely to 2 3 0 stop.
    impossible = -100.0
    table = np.full((5, 4), impossible)
    table[-1, [STOP, 2]] = np.log([0.6, 0.4])
    table[[2, 3, 0], [3, 0, STOP]] = 0.0
    batch = batch_of(table[None])
    limits = {"max_tokens": 6, "stop_ids": (STOP,)}
    short = generate(MarkovCaptioner(4), {}, batch, Beam(size=3), **limits)
    long = generate(MarkovCaptioner(4), {}, batch, Beam(size=3, length_penalty=3.0), **limits)
    assert sentences(short, 0) == [(STOP,)]
    assert sentences(long, 0) == [(2, 3, 0, STOP)]
    np.testing.assert_allclose(short.score, [[np.log(0.6)]], rtol=1e-6)
    np.testing.assert_allclose(long.score, [[np.log(0.4) / (9 / 6) ** 3]], rtol=1e-6)


def test_any_of_several_stop_ids_ends_a_hypothesis():
    tables = np.random.default_rng(1).normal(size=(4, 6, 5))
    found = generate(
        MarkovCaptioner(5),
        {},
        batch_of(tables),
        Beam(size=4, n_best=4),
        max_tokens=6,
        stop_ids=(1, 3),
    )
    for row in range(4):
        for sentence, finished in zip(sentences(found, row), found.finished[row], strict=True):
            assert finished == (sentence[-1] in (1, 3))
            assert not {1, 3} & set(sentence[:-1])


@pytest.mark.parametrize("stops", ["best", "each"])
def test_beams_of_rows_on_other_devices_are_not_gathered(stops):
    devices = jax.device_count()
    model, variables, batch, _ = recurrent(vocabulary=16, rows=2 * devices)
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    batch = jax.device_put(batch, NamedSharding(mesh, P("data")))
    variables = jax.device_put(variables, NamedSharding(mesh, P()))
    settings = {"max_tokens": 5, "stop_ids": (STOP,)}
    beam = Beam(size=3, stops=stops)
    compiled = generate.lower(model, variables, batch, beam, **settings).compile()
    assert "all-gather" not in compiled.as_text()
    assert "all-to-all" not in compiled.as_text()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"size": 0}, "size"),
        ({"size": 2, "n_best": 3}, "n_best"),
        ({"n_best": 0}, "n_best"),
        ({"length_penalty": -0.1}, "length_penalty"),
        ({"length_penalty": float("nan")}, "length_penalty"),
    ],
)
def test_impossible_settings_name_their_field(settings, field):
    with pytest.raises(ValueError, match=f"Beam.{field}"):
        Beam(**settings)
