"""CL4AC's table: every entry of the published names is placed, there and back, bit by bit."""

from typing import Any

import jax
import numpy as np
import pytest

from adiff_jax.audio.frontends import CNN10
from adiff_jax.convert import cl4ac
from adiff_jax.convert.engine import ConversionError, StateDict, parameter_counts
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.nn.transformer import sinusoidal_positions
from tests.convert.states import State, assert_same, cl4ac_leaves, cl4ac_state, constants

PREFIX = "feature_extractor."


@pytest.fixture(scope="module")
def published() -> State:
    return cl4ac_state()


@pytest.fixture(scope="module")
def leaves() -> Any:
    return cl4ac_leaves()


def complaint(state: State, leaves: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        cl4ac.to_ours(StateDict(state), leaves)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_entry_comes_back_bit_by_bit(published: State, leaves: Any, prefix: str) -> None:
    state = {prefix + name: value for name, value in published.items()}
    converted = cl4ac.to_ours(StateDict(state, "model"), leaves)
    assert jax.tree.map(np.shape, converted.variables) == jax.tree.map(np.shape, dict(leaves))
    back = cl4ac.to_torch(converted.variables, converted.sidecar)
    assert back.container == "model"
    assert_same(dict(back.entries), state)
    # frontend, counters of nine batch norms, positions
    assert len(converted.sidecar.carried) == 3 + 9 + 1


def test_parameters_are_as_many_as_published() -> None:
    assert parameter_counts(cl4ac_leaves(Cl4ac(vocab_size=4375)))[""] == 7_457_881


@pytest.mark.parametrize(("theirs", "ours"), [("self_attn", "self"), ("multihead_attn", "cross")])
def test_queries_come_before_keys_and_those_before_values(
    published: State, leaves: Any, theirs: str, ours: str
) -> None:
    variables = cl4ac.to_ours(StateDict(published), leaves).variables
    attention = variables["params"]["decoder"]["blocks_1"][f"{ours}_attention"]
    name = f"transformer_decoder.layers.1.{theirs}.in_proj"
    for number, part in enumerate(("query", "key", "value")):
        rows = slice(128 * number, 128 * (number + 1))
        kernel, bias = published[f"{name}_weight"][rows], published[f"{name}_bias"][rows]
        np.testing.assert_array_equal(attention[part]["kernel"].reshape(128, 128), kernel.T)
        np.testing.assert_array_equal(attention[part]["bias"].reshape(128), bias)


def test_a_frontend_of_the_weights_that_training_began_with_is_taken(
    published: State, leaves: Any
) -> None:
    panns = {PREFIX + name: value for name, value in constants(CNN10).items()}
    name = f"{PREFIX}logmel_extractor.melW"
    assert not np.allclose(panns[name], published[name])
    converted = cl4ac.to_ours(StateDict(published | panns), leaves)
    np.testing.assert_array_equal(converted.sidecar.carried[name], panns[name])


def test_constants_that_are_others_are_named(published: State, leaves: Any) -> None:
    later = sinusoidal_positions(2001, 128)[1:, None]
    mel = published[f"{PREFIX}logmel_extractor.melW"] * np.float32(1.01)
    changed = {"pos_encoder.pe": later, f"{PREFIX}logmel_extractor.melW": mel}
    found = complaint(published | changed, leaves)
    assert "2 problem(s)" in found
    assert "'pos_encoder.pe' differs from ours by up to" in found
    assert f"'{PREFIX}logmel_extractor.melW' differs from ours by up to" in found
    found = complaint(published | {"pos_encoder.pe": later[:, 0]}, leaves)
    assert "'pos_encoder.pe' is (2000, 128), no table of positions" in found


def test_what_is_missing_and_what_is_too_much_is_named(published: State, leaves: Any) -> None:
    name = "transformer_decoder.layers.0.self_attn.in_proj_weight"
    state = {n: value for n, value in published.items() if n not in (name, "rs_fc.bias")}
    found = complaint(state | {"some.weight": np.zeros(3, np.float32)}, leaves)
    assert "5 problem(s)" in found
    for part in ("query", "key", "value"):
        assert f"needs '{name}.{part}', which the file lacks" in found
    assert "params/matching/bias (2,) needs 'rs_fc.bias'" in found
    assert "unmatched: 'some.weight' (3,)" in found


def test_a_packed_projection_that_is_not_three_is_named(published: State, leaves: Any) -> None:
    name = "transformer_decoder.layers.0.self_attn.in_proj_bias"
    found = complaint(published | {name: np.zeros(385, np.float32)}, leaves)
    assert f"unmatched: '{name}' (385,)" in found
