"""Schedules, masks, multipliers, frozen leaves and the average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

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
        (Steps((10, 30), factors=(3.0, 0.5)), {0: 1.0, 9: 1.0, 10: 3.0, 29: 3.0, 30: 1.5}),
    ],
)
def test_schedules_pass_through_their_corners(
    schedule: Schedule, expected: dict[int, float]
) -> None:
    rate = learning_rate(Optimizer(learning_rate=2.0, schedule=schedule), steps=100)
    for step, value in expected.items():
        assert float(rate(step)) == pytest.approx(2.0 * value, rel=1e-5, abs=1e-7), step


def test_steps_express_the_published_schedule_of_cl4ac() -> None:
    epochs = [1e-4, 2e-4, 3e-4, 4e-4, *[5e-4] * 10, *[5e-5] * 10, *[5e-6] * 6]
    a_step = 10  # steps of an epoch
    schedule = Steps(
        boundaries=tuple(a_step * epoch for epoch in (1, 2, 3, 4, 14, 24)),
        factors=(2.0, 3 / 2, 4 / 3, 5 / 4, 0.1, 0.1),
    )
    rate = learning_rate(Optimizer(learning_rate=1e-4, schedule=schedule), steps=300)
    found = [float(rate(step)) for step in range(300)]
    np.testing.assert_allclose(found, np.repeat(epochs, a_step), rtol=1e-6)


@pytest.mark.parametrize("factors", [(0.5,), (0.5, 0.5, 0.5)])
def test_factors_that_do_not_pair_with_boundaries_are_refused(factors: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="one factor for each boundary"):
        Steps((10, 30), factors=factors)


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


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_l2_is_the_weight_decay_of_pytorchs_adam(clip_norm: float) -> None:
    # large, so that it shows; every leaf has it, biases too, and it joins after the clipping
    config = Optimizer(learning_rate=0.1, weight_decay=0.0, l2=0.3, clip_norm=clip_norm)
    tx = transformation(config, 100)
    params, state = PARAMS, tx.init(PARAMS)
    theirs = [
        torch.nn.Parameter(torch.from_numpy(np.array(leaf))) for leaf in jax.tree.leaves(PARAMS)
    ]
    adam = torch.optim.Adam(theirs, lr=0.1, weight_decay=0.3)
    rng = np.random.default_rng(0)
    for _ in range(5):
        gradients = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), PARAMS)
        for leaf, gradient in zip(theirs, jax.tree.leaves(gradients), strict=True):
            leaf.grad = torch.from_numpy(np.array(gradient))
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(theirs, clip_norm)
        adam.step()
        step, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, step)
    for ours, leaf in zip(jax.tree.leaves(params), theirs, strict=True):
        np.testing.assert_allclose(ours, leaf.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_l2_leaves_frozen_parameters_out() -> None:
    found = updates(Optimizer(l2=0.1, freeze=("encoder/.*",)))
    assert found["encoder"] == {"kernel": None, "bias": None, "scale": None}
    assert (found["head"]["kernel"] < 0).all()


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
