"""Next-token choice: the filtered sets are exact, the limits are greedy, draws are distributed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.decode.sampling import (
    Greedy,
    Sample,
    kept_tokens,
    most_likely,
    next_tokens,
    penalised,
)

PROBABILITIES = np.array([[0.1, 0.5, 0.05, 0.3, 0.05], [0.2, 0.2, 0.2, 0.2, 0.2]])
LOGITS = jnp.asarray(np.log(PROBABILITIES) + np.array([[3.0], [-700.0]]), jnp.float32)


choose = jax.jit(next_tokens, static_argnums=0)


def kept(sampler: Sample, logits: jax.Array = LOGITS) -> list[set[int]]:
    return [set(np.flatnonzero(row)) for row in np.asarray(kept_tokens(sampler, logits))]


def test_top_k_keeps_exactly_k_tokens_lower_ids_first_among_equals():
    assert kept(Sample(top_k=2)) == [{1, 3}, {0, 1}]
    assert kept(Sample(top_k=4)) == [{0, 1, 2, 3}, {0, 1, 2, 3}]
    assert kept(Sample(top_k=50)) == [set(range(5))] * 2


@pytest.mark.parametrize(
    ("top_p", "first", "second"),
    [
        (0.01, {1}, {0}),
        (0.49, {1}, {0, 1, 2}),
        (0.51, {1, 3}, {0, 1, 2}),
        (0.79, {1, 3}, {0, 1, 2, 3}),
        (0.81, {0, 1, 3}, {0, 1, 2, 3, 4}),
        (0.93, {0, 1, 2, 3}, {0, 1, 2, 3, 4}),
        (1.0, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}),
    ],
)
def test_top_p_keeps_the_smallest_set_of_that_mass_with_the_crossing_token(top_p, first, second):
    assert kept(Sample(top_p=top_p)) == [first, second]


def test_top_p_is_a_share_of_what_top_k_left():
    # Of the kept {1, 3} token 1 holds 0.5 / 0.8 = 0.625.
    assert kept(Sample(top_k=2, top_p=0.62))[0] == {1}
    assert kept(Sample(top_k=2, top_p=0.63))[0] == {1, 3}


def test_top_p_measures_mass_at_the_temperature():
    # At temperature 0.5 probabilities are squared: token 1 holds 0.25 / 0.355 = 0.704.
    assert kept(Sample(top_p=0.7))[0] == {1, 3}
    assert kept(Sample(temperature=0.5, top_p=0.7))[0] == {1}


@pytest.mark.parametrize("sampler", [Sample(top_k=1), Sample(temperature=1e-8), Sample(top_p=1e-6)])
def test_limits_of_sampling_are_greedy(sampler):
    logits = np.random.default_rng(3).normal(size=(64, 11)).astype(np.float32) * 20
    keys = jax.random.split(jax.random.key(0), 64)
    greedy = choose(Greedy(), logits)
    np.testing.assert_array_equal(greedy, np.argmax(logits, axis=-1))
    np.testing.assert_array_equal(choose(sampler, logits, keys), greedy)


def test_draws_follow_the_cut_distribution_at_the_temperature():
    draws = 20_000
    sampler = Sample(temperature=0.7, top_k=3)
    keys = jax.random.split(jax.random.key(1), draws)
    logits = np.broadcast_to(LOGITS[0], (draws, 5))
    drawn = np.bincount(choose(sampler, logits, keys), minlength=5)
    expected = np.where([True, True, False, True, False], PROBABILITIES[0] ** (1 / 0.7), 0)
    expected /= expected.sum()
    assert drawn[[2, 4]].sum() == 0
    # Five standard deviations of a binomial share.
    np.testing.assert_allclose(drawn / draws, expected, atol=5 * 0.5 / np.sqrt(draws))


def test_a_row_draws_by_its_own_key_alone():
    logits = np.random.default_rng(3).normal(size=(8, 11)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 8)
    together = choose(Sample(top_p=0.9), logits, keys)
    alone = [choose(Sample(top_p=0.9), logits[i : i + 1], keys[i : i + 1])[0] for i in range(8)]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"temperature": 0.0}, "Greedy"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
    ],
)
def test_impossible_settings_name_their_field(settings, field):
    with pytest.raises(ValueError, match=field):
        Sample(**settings)


def test_the_most_likely_token_is_the_argmax_and_always_in_the_vocabulary():
    logits = np.random.default_rng(5).integers(-9, 9, (64, 30)).astype(np.float32)  # many equals
    logits[::3, 4:9] = -np.inf
    np.testing.assert_array_equal(jax.jit(most_likely)(logits), np.argmax(logits, axis=-1))
    logits[7, 2] = np.nan
    assert most_likely(jnp.asarray(logits))[7] == 29


def test_a_penalty_divides_positive_and_multiplies_negative_logits_of_said_tokens():
    logits = jnp.asarray([[3.0, -2.0, 0.0, 3.0, -2.0, -jnp.inf]])
    said = jnp.asarray([[True, True, True, False, False, True]])
    expected = [[2.0, -3.0, 0.0, 3.0, -2.0, -np.inf]]
    np.testing.assert_array_equal(penalised(logits, said, 1.5), expected)


@pytest.mark.parametrize("kind", [Greedy, Sample])
def test_a_said_token_gives_way_to_the_next_one(kind):
    logits = jnp.asarray([[30.0, 29.0, -30.0]] * 2)
    said = jnp.asarray([[True, False, False], [False, False, False]])
    keys = jax.random.split(jax.random.key(0), 2)
    assert choose(kind(repetition=2.0), logits, keys, said)[0] == 1
    assert choose(Greedy(repetition=2.0), logits, keys, said)[1] == 0
    with pytest.raises(ValueError, match="pass said"):
        next_tokens(kind(repetition=2.0), logits, keys)


@pytest.mark.parametrize("kind", [Greedy, Sample])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_penalty_is_a_positive_number(kind, value):
    with pytest.raises(ValueError, match=f"{kind.__name__}.repetition is .*above 0"):
        kind(repetition=value)
