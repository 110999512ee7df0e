"""Schedules, masks, multipliers, frozen leaves and the average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.train.optim import (
    Constant,
    Optimizer,
    Schedule,
    Steps,
    WarmupCosine,
    average,
    check_patterns,
    learning_rate,
    merge,
    trainable,
    transformation,
)

PARAMS = {
    "encoder": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones((2, 3)), "scale": jnp.ones(3)},
    "head": {"kernel": jnp.ones((3, 2))},
}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), {0: 1.0, 99: 1.0}),
        (Constant(warmup=4), {0: 0.25, 1: 0.5, 3: 1.0, 4: 1.0, 99: 1.0}),
        (WarmupCosine(), {0: 1.0, 50: 0.5, 100: 0.0}),
        (WarmupCosine(warmup=20, end=0.1), {0: 0.05, 19: 1.0, 20: 1.0, 60: 0.55, 100: 0.1}),
        (Steps((10, 30), 0.1, warmup=5), {0: 0.2, 5: 1.0, 9: 1.0, 11: 0.1, 31: 0.01}),
    ],
)
def test_schedules_pass_through_their_corners(
    schedule: Schedule, expected: dict[int, float]
) -> None:
    rate = learning_rate(Optimizer(learning_rate=2.0, schedule=schedule), steps=100)
    for step, value in expected.items():
        assert float(rate(step)) == pytest.approx(2.0 * value, rel=1e-5, abs=1e-7), step


def updates(config: Optimizer, scale: float = 0.0) -> dict[str, dict[str, jax.Array]]:
    """Of the first step, for gradients that are `scale` everywhere."""
    tx = transformation(config, 100)
    params = trainable(config, PARAMS)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, scale), params)
    return tx.update(gradients, tx.init(params), params)[0]


def test_biases_and_leaves_of_one_axis_do_not_decay() -> None:
    found = updates(Optimizer(learning_rate=0.1, weight_decay=0.5))
    np.testing.assert_allclose(found["encoder"]["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(found["head"]["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(found["encoder"]["bias"], 0.0)  # two axes, a bias all the same
    np.testing.assert_array_equal(found["encoder"]["scale"], 0.0)


def test_multipliers_scale_the_rate_by_path_and_the_first_match_wins() -> None:
    multipliers = (("encoder/bias", 0.5), ("encoder/.*", 0.1))
    plain = updates(Optimizer(learning_rate=1.0, weight_decay=0.0), 1.0)
    found = updates(Optimizer(learning_rate=1.0, weight_decay=0.0, multipliers=multipliers), 1.0)
    ratio = jax.tree.map(lambda a, b: float((a / b).mean()), found, plain)
    assert ratio["encoder"]["bias"] == pytest.approx(0.5)
    assert ratio["encoder"]["kernel"] == pytest.approx(0.1)
    assert ratio["head"]["kernel"] == 1.0


def test_adam_ignores_the_scale_of_a_clipped_gradient_but_its_moments_do_not() -> None:
    config = Optimizer(clip_norm=1.0)
    tx = transformation(config, 100)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, 10.0), PARAMS)
    _, state = tx.update(gradients, tx.init(PARAMS), PARAMS)
    moments = jnp.concatenate([m.ravel() for m in jax.tree.leaves(state[1].mu)])
    np.testing.assert_allclose(jnp.linalg.norm(moments), 0.1, rtol=1e-5)  # (1 - b1) * 1.0


def test_frozen_leaves_hold_no_optimizer_state_and_come_back_unchanged() -> None:
    config = Optimizer(freeze=("encoder/.*",))
    params = trainable(config, PARAMS)
    assert params["encoder"] == {"kernel": None, "bias": None, "scale": None}
    sizes = [leaf.size for leaf in jax.tree.leaves(transformation(config, 100).init(params))]
    assert sorted(sizes) == [1, 1, 6, 6]  # two counts, two moments of the head
    merged = merge(jax.tree.map(lambda x: x + 1, params), PARAMS)
    assert merged["encoder"]["kernel"] is PARAMS["encoder"]["kernel"]
    np.testing.assert_array_equal(merged["head"]["kernel"], 2.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Optimizer(freeze=("encodr/.*",)), "optimizer.freeze: 'encodr/.\\*' matches no parameter"),
        (Optimizer(freeze=("encoder",)), "matches no parameter; paths look like encoder/bias"),
        (Optimizer(multipliers=(("tail/.*", 2.0),)), "optimizer.multipliers: 'tail"),
        (Optimizer(freeze=(".*",)), "leaves no parameter to train"),
    ],
)
def test_a_pattern_without_effect_is_an_error(config: Optimizer, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_patterns(config, PARAMS)
    check_patterns(Optimizer(freeze=("encoder/.*",), multipliers=(("head/.*", 0.1),)), PARAMS)


def test_the_average_moves_by_its_share() -> None:
    config = Optimizer(ema=0.75)
    moved = average(config, PARAMS, jax.tree.map(lambda x: x * 5, PARAMS))
    np.testing.assert_allclose(moved["head"]["kernel"], 0.75 * 1 + 0.25 * 5)
    assert average(Optimizer(), None, PARAMS) is None


def test_the_average_of_a_frozen_leaf_is_that_leaf_without_rounding() -> None:
    config = Optimizer(ema=0.9, freeze=("encoder/.*",))
    thirds = jax.tree.map(lambda x: x / 3, PARAMS)
    averaged = thirds
    for _ in range(5):
        averaged = average(config, averaged, thirds)
    np.testing.assert_array_equal(averaged["encoder"]["kernel"], thirds["encoder"]["kernel"])
