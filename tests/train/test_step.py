"""The step: what is summed, what is held, what is refused, and the same on every mesh."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from adiff_jax.arrays import Batch, Term
from adiff_jax.parallel.mesh import MeshConfig, make_mesh, put_batch
from adiff_jax.parallel.sharding import Rule, Rules, tree_shardings
from adiff_jax.protocol import Objective
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import TrainState, abstract_state, fresh_state
from adiff_jax.train.step import loss_gradients, make_train_step, mean, total
from tests.train.tiny import Contrastive, Net, Regression, rows_of

ALONE = MeshConfig(data=1)
MESHES = (MeshConfig(8), MeshConfig(2, 4), MeshConfig(2, 2, 2))
RULES = Rules((Rule("encoder/kernel", ("fsdp", "tensor")), Rule("head/kernel", ("tensor",))), 1)
PLAIN = Optimizer()


@cache
def initial(objective: Objective, optimizer: Optimizer) -> TrainState:
    """The fresh state on one device."""
    batch = Batch(**{name: jnp.asarray(rows) for name, rows in rows_of(0).items()})
    arguments = (objective, optimizer, 100, batch)
    mesh = make_mesh(ALONE, jax.devices()[:1])
    return fresh_state(*arguments, 3, abstract_state(*arguments, mesh, RULES))


@cache
def gradients_alone(objective: Objective) -> tuple[float, Any]:
    """(loss, gradients) of the first batch on one device."""
    return Setting(objective).gradients()


@dataclass
class Setting:
    """An objective with its state and a batch on a mesh."""

    objective: Objective
    mesh_config: MeshConfig = ALONE
    optimizer: Optimizer = PLAIN
    rows: int = 32
    mesh: Mesh = field(init=False)
    batch: Batch = field(init=False)
    state: TrainState = field(init=False)

    def __post_init__(self) -> None:
        config = self.mesh_config
        devices = jax.devices()[: config.data * config.fsdp * config.tensor]
        self.mesh = make_mesh(config, devices)
        self.batch = self.placed(0)
        state = initial(self.objective, self.optimizer)
        self.state = jax.device_put(state, tree_shardings(state, self.mesh, RULES))

    def placed(self, step: int) -> Batch:
        return Batch(**put_batch(rows_of(step, self.rows), self.mesh))

    def gradients(self, accumulate: int = 1) -> tuple[float, Any]:
        """(loss, gradients) of the first batch."""

        @jax.jit
        def compute(state: TrainState, batch: Batch) -> tuple[jax.Array, Any]:
            key = jax.random.key(5)
            gradients, terms, _, _ = loss_gradients(
                self.objective, self.optimizer, state, batch, key, accumulate
            )
            return total(self.objective.weights, terms), gradients

        loss, gradients = compute(self.state, self.batch)
        return float(loss), gradients

    def steps(self, count: int) -> tuple[TrainState, list[dict[str, jax.Array]]]:
        """Several steps on the first batch."""
        run = jax.jit(make_train_step(self.objective, self.optimizer, 100))
        state, metrics = self.state, []
        for step in range(count):
            state, found = run(state, self.batch, np.uint32(0), np.int32(step))
            metrics.append(found)
        return state, metrics


def distance(found: Any, expected: Any) -> float:
    """Of two gradients, relative to the norm of the second."""

    def flat(tree: Any) -> np.ndarray:
        return np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(tree)])

    return float(np.linalg.norm(flat(found) - flat(expected)) / np.linalg.norm(flat(expected)))


OBJECTIVES = {
    "sums": Regression(),
    "batch norm": Regression(Net(batch_norm=True)),
    "dropout": Regression(Net(dropout=0.5)),
    "contrastive": Contrastive(),
}


@pytest.mark.parametrize(
    "config",
    [*(pytest.param(mesh, marks=pytest.mark.slow) for mesh in MESHES[:-1]), MESHES[-1]],
    ids=str,
)
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_loss_and_gradients_agree_with_one_device(objective: Objective, config: MeshConfig) -> None:
    loss, gradients = gradients_alone(objective)
    spread = Setting(objective, config)
    kernel = spread.state.params["encoder"]["kernel"]
    parts = config.fsdp * config.tensor
    assert kernel.addressable_shards[0].data.size == kernel.size // parts
    found_loss, found = spread.gradients()
    assert found_loss == pytest.approx(loss, rel=1e-5)
    assert distance(found, gradients) < 1e-4


def test_batch_norm_normalises_over_the_whole_batch_on_any_mesh() -> None:
    objective = Regression(Net(batch_norm=True))
    alone, _ = Setting(objective).steps(1)
    spread, _ = Setting(objective, MeshConfig(8)).steps(1)
    for name in ("mean", "var"):
        expected = alone.batch_stats["norm"][name]
        np.testing.assert_allclose(spread.batch_stats["norm"][name], expected, rtol=1e-5, atol=1e-7)
    # the last device's rows alone have another mean
    rows = rows_of(0, 32)["audio_1"]
    assert not np.allclose(rows[:28].mean(axis=0), rows.mean(axis=0), rtol=1e-2)


def test_a_contrastive_loss_sees_the_rows_of_other_devices() -> None:
    """Each of eight devices alone would tell 4 rows apart, not 32."""
    whole = Setting(Contrastive(), MeshConfig(8)).gradients()[0]
    fewer = Setting(Contrastive(), rows=4).gradients()[0]
    assert whole > fewer + 0.3


def test_the_loss_is_the_weighted_sum_of_the_means_of_the_terms() -> None:
    terms = {"a": (jnp.float32(6), jnp.float32(3)), "b": (jnp.float32(5), jnp.float32(0))}
    assert float(total({"a": 0.5, "b": 10.0}, terms)) == 1.0
    assert float(mean(terms["b"])) == 0.0
    gradient = jax.grad(lambda s: total({"b": 1.0}, {"b": (s, jnp.float32(0))}))(5.0)
    assert float(gradient) == 0.0


def test_a_term_without_weight_is_an_error_not_ignored() -> None:
    with pytest.raises(ValueError, match=r"loss terms \['a'\] but weights for \['a', 'b'\]"):
        total({"a": 1.0, "b": 1.0}, {"a": (1.0, 1.0)})


@pytest.mark.parametrize("config", [ALONE, MeshConfig(2, 2, 2)], ids=str)
def test_accumulated_gradients_are_those_of_the_whole_batch(config: MeshConfig) -> None:
    """Also though the terms' weights differ from micro-batch to micro-batch."""
    setting = Setting(Regression(absolute=3.0), config)
    loss, gradients = setting.gradients()
    found_loss, found = setting.gradients(accumulate=4)
    assert found_loss == pytest.approx(loss, rel=1e-6)
    assert distance(found, gradients) < 1e-6
    positive = (rows_of(0, 32)["labels"][:, 0] > 0).reshape(-1, 4).sum(axis=0)
    assert len(set(positive)) > 1


def test_accumulation_leaves_every_row_on_its_device() -> None:
    setting = Setting(Regression(), MeshConfig(8))
    step = jax.jit(make_train_step(setting.objective, setting.optimizer, 100, accumulate=4))
    arguments = (setting.state, setting.batch, np.uint32(0), np.int32(0))
    compiled = step.lower(*arguments).compile().as_text()
    for movement in ("all-gather", "all-to-all", "collective-permute"):
        assert movement not in compiled
    assert "all-reduce" in compiled


@pytest.mark.parametrize("objective", [Contrastive(), Regression(Net(batch_norm=True))], ids=repr)
def test_accumulation_is_refused_where_rows_look_at_one_another(objective: Objective) -> None:
    with pytest.raises(ValueError, match="accumulate=2: .*looks across the batch.*accumulate=1"):
        make_train_step(objective, Optimizer(), 100, accumulate=2)


def test_frozen_leaves_and_their_statistics_stay_and_the_rest_learns() -> None:
    optimizer = Optimizer(learning_rate=0.1, freeze=("encoder/.*", "norm/.*"))
    setting = Setting(Regression(Net(batch_norm=True)), optimizer=optimizer)
    after, _ = setting.steps(3)
    before = setting.state
    for name in ("encoder", "norm"):
        jax.tree.map(np.testing.assert_array_equal, after.params[name], before.params[name])
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats, before.batch_stats)
    assert not np.allclose(after.params["head"]["kernel"], before.params["head"]["kernel"])
    gradients = setting.gradients()[1]
    assert jax.tree.leaves(gradients["encoder"]) == []


def test_training_learns_and_reports_what_it_did() -> None:
    setting = Setting(Regression(), optimizer=Optimizer(learning_rate=0.03, ema=0.5))
    state, metrics = setting.steps(60)
    assert int(state.step) == 60
    assert float(metrics[-1]["loss"]) < 0.5 * float(metrics[0]["loss"])
    assert float(metrics[0]["learning_rate"]) == pytest.approx(0.03)
    assert set(metrics[0]) == {
        "loss", "loss/squared", "loss/absolute", "mean_output", "gradient_norm",
        "learning_rate", "applied",
    }  # fmt: skip
    loss, gradients = setting.gradients()
    assert float(metrics[0]["loss"]) == pytest.approx(loss, rel=1e-6)
    flat = np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(gradients)])
    assert float(metrics[0]["gradient_norm"]) == pytest.approx(np.linalg.norm(flat), rel=1e-5)
    kernel, averaged = state.params["head"]["kernel"], state.ema["head"]["kernel"]
    assert 0 < np.abs(kernel - averaged).max() < 0.1


def test_draws_are_a_function_of_seed_and_step() -> None:
    setting = Setting(Regression(Net(dropout=0.5)))
    run = jax.jit(make_train_step(setting.objective, setting.optimizer, 100))

    def loss(seed: int, step: int) -> float:
        state = setting.state.replace(step=jnp.int32(step))
        return float(run(state, setting.batch, np.uint32(seed), np.int32(step))[1]["loss"])

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(0, 1), loss(1, 0), loss(1, 1)}) == 4


@dataclass(frozen=True)
class Cusp(Regression):
    """A finite loss with a gradient that is not: a square root at 0."""

    def loss(
        self,
        variables: Mapping[str, Any],
        batch: Batch,
        rngs: Mapping[str, jax.Array],
        train: bool,
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        terms, batch_stats, metrics = super().loss(variables, batch, rngs, train)
        error, weight = terms["squared"]
        return terms | {"squared": (error + jnp.sqrt(error * 0), weight)}, batch_stats, metrics


@pytest.mark.parametrize("poison", ["loss", "gradient", "limit"])
def test_a_harmful_step_changes_nothing_and_neither_does_any_after_it(poison: str) -> None:
    objective = Cusp() if poison == "gradient" else Regression(Net(batch_norm=True))
    setting = Setting(objective, optimizer=Optimizer(ema=0.9))
    limit = 0.0 if poison == "limit" else 1e9
    run = jax.jit(make_train_step(objective, setting.optimizer, 100, loss_limit=limit))
    bad = setting.batch
    if poison == "loss":
        bad = bad.replace(audio_1=bad.audio_1.at[3, 0].set(jnp.nan))
    state, metrics = run(setting.state, bad, np.uint32(0), np.int32(0))
    assert np.isfinite(metrics["loss"]) == (poison != "loss")
    assert np.isfinite(metrics["gradient_norm"]) == (poison == "limit")
    assert not metrics["applied"]
    jax.tree.map(np.testing.assert_array_equal, state, setting.state)
    again, metrics = run(state, setting.placed(1), np.uint32(0), np.int32(1))
    assert np.isfinite(metrics["loss"]) and not metrics["applied"]
    jax.tree.map(np.testing.assert_array_equal, again, setting.state)


def test_padding_rows_change_no_gradient() -> None:
    setting = Setting(Regression())
    _, expected = gradients_alone(setting.objective)
    setting.batch = setting.batch.replace(audio_1=setting.batch.audio_1.at[-1].set(99.0))
    _, found = setting.gradients()
    jax.tree.map(np.testing.assert_array_equal, found, expected)
