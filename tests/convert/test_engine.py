"""Conversion is total: every entry and leaf is accounted for, or all that is not is listed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.convert.engine import (
    ConversionError,
    StateDict,
    parameter_counts,
    same_bits,
    to_ours,
    to_torch,
)
from adiff_jax.convert.table import Carried, Rule, Table, Tied, linear
from tests.convert.states import State, assert_same

TABLE = Table(
    "toy",
    rules=(
        *linear("dense", "block/dense"),
        Rule("emb.weight", "params/emb"),
        Rule("bn.mean", "batch_stats/bn/mean"),
    ),
    tied=(Tied("out.weight", "emb.weight"),),
    carried=(
        Carried("steps"),
        Carried("scale", lambda value: "" if value == 2 else f"is {value}, ours is 2"),
    ),
)
SHAPES = {
    "params": {"block": {"dense": {"kernel": (3, 2), "bias": (2,)}}, "emb": (4, 3)},
    "batch_stats": {"bn": {"mean": (5,)}},
}


def abstract() -> Any:
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def state() -> State:
    rng = np.random.default_rng(0)
    drawn = {"dense.weight": (2, 3), "dense.bias": (2,), "emb.weight": (4, 3), "bn.mean": (5,)}
    entries = {k: rng.standard_normal(shape).astype(np.float32) for k, shape in drawn.items()}
    return entries | {
        "out.weight": entries["emb.weight"],
        "steps": np.array(9, np.int64),
        "scale": np.array(2.0, np.float32),
    }


def complaints(entries: State) -> list[str]:
    with pytest.raises(ConversionError) as caught:
        to_ours(TABLE, StateDict(entries), abstract())
    return str(caught.value).splitlines()[1:]


def test_leaves_are_filled_and_nothing_else_is_made() -> None:
    entries = state()
    converted = to_ours(TABLE, StateDict(entries), abstract())
    assert jax.tree.map(np.shape, converted.variables) == SHAPES
    np.testing.assert_array_equal(
        converted.variables["params"]["block"]["dense"]["kernel"], entries["dense.weight"].T
    )
    assert set(converted.sidecar.carried) == {"steps", "scale"}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_there_and_back_changes_no_bit(prefix: str) -> None:
    """The values include what comparisons by value do not see."""
    entries = {prefix + name: value for name, value in state().items()}
    entries[prefix + "dense.weight"][0] = [-0.0, np.inf, 1e-42]
    entries[prefix + "bn.mean"][:2] = np.array([0x7FC00001, 0xFFC12345], np.uint32).view("f4")
    converted = to_ours(TABLE, StateDict(entries, "model"), abstract())
    back = to_torch(TABLE, converted.variables, converted.sidecar)
    assert_same(dict(back.entries), entries)
    assert back.container == "model"


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_is_float32_here_and_itself_again_there(dtype: Any) -> None:
    entries = state()
    entries["dense.weight"] = entries["dense.weight"].astype(dtype)
    converted = to_ours(TABLE, StateDict(entries), abstract())
    assert converted.variables["params"]["block"]["dense"]["kernel"].dtype == np.float32
    assert_same(dict(to_torch(TABLE, converted.variables, converted.sidecar).entries), entries)


def test_all_that_does_not_fit_is_listed_at_once() -> None:
    entries = state()
    del entries["bn.mean"]
    entries |= {"stray.weight": np.zeros(3, np.float32), "other": np.zeros((), np.float32)}
    entries["dense.weight"] = np.zeros((3, 2), np.float32)
    entries["dense.bias"] = np.zeros(2, np.float64)
    entries["out.weight"] = entries["out.weight"] + 1
    entries["scale"] = np.array(3.0, np.float32)
    found = complaints(entries)
    assert len(found) == 7
    for text in (
        "unfilled: batch_stats/bn/mean (5,) needs 'bn.mean', which the file lacks",
        "wrong shape: 'dense.weight' is (3, 2), the model needs (2, 3)",
        "wrong dtype: 'dense.bias' is float64",
        "not tied: 'out.weight' differs from 'emb.weight'",
        "other constant: 'scale' is 3.0, ours is 2",
        "unmatched: 'stray.weight' (3,)",
        "unmatched: 'other' ()",
    ):
        assert sum(text in line for line in found) == 1, text


def test_a_leaf_without_a_rule_is_unfilled() -> None:
    shapes = abstract()
    shapes["params"]["extra"] = jax.ShapeDtypeStruct((2,), jnp.float32)
    with pytest.raises(ConversionError, match=r"params/extra \(2,\) is in no rule"):
        to_ours(TABLE, StateDict(state()), shapes)


def test_a_name_that_two_leaves_claim_is_refused() -> None:
    shapes = {"params": {name: jax.ShapeDtypeStruct((4, 3), jnp.float32) for name in "ab"}}
    table = Table("twice", rules=(Rule("emb.weight", "params/a"), Rule("emb.weight", "params/b")))
    entries = {"emb.weight": state()["emb.weight"]}
    with pytest.raises(ConversionError, match="params/b and params/a need 'emb.weight'"):
        to_ours(table, StateDict(entries), shapes | {"batch_stats": {}})


def test_two_names_that_become_one_are_refused() -> None:
    entries = state() | {"module.steps": np.array(1, np.int64)}
    with pytest.raises(ConversionError, match=r"two entries are called 'steps'"):
        to_ours(TABLE, StateDict(entries), abstract())


def test_tied_entries_are_made_from_the_leaf_again() -> None:
    """After training the embedding is another, and its copy follows it."""
    converted = to_ours(TABLE, StateDict(state()), abstract())
    converted.variables["params"]["emb"] = np.full((4, 3), 5, np.float32)
    entries = to_torch(TABLE, converted.variables, converted.sidecar).entries
    np.testing.assert_array_equal(entries["out.weight"], entries["emb.weight"])
    assert (entries["emb.weight"] == 5).all()


def test_a_run_of_another_model_is_not_exported() -> None:
    converted = to_ours(TABLE, StateDict(state()), abstract())
    variables = converted.variables
    variables["params"]["emb"] = np.zeros((6, 3), np.float32)
    variables["params"]["block"]["more"] = np.zeros(2, np.float32)
    del variables["batch_stats"]["bn"]
    with pytest.raises(ConversionError) as caught:
        to_torch(TABLE, variables, converted.sidecar)
    for text in (
        "'emb.weight' was (4, 3); this run has (6, 3)",
        "params/block/more (2,) is in no rule",
        "'bn.mean' has no leaf in this run",
    ):
        assert text in str(caught.value)


def test_a_leaf_that_the_file_did_not_have_is_not_left_behind() -> None:
    converted = to_ours(TABLE, StateDict(state()), abstract())
    sidecar = converted.sidecar
    fewer = tuple(entry for entry in sidecar.entries if entry.name != "dense.bias")
    shorter = type(sidecar)(sidecar.table, "", fewer, sidecar.carried)
    with pytest.raises(ConversionError, match=r"dense/bias is 'dense.bias', which the converted"):
        to_torch(TABLE, converted.variables, shorter)


def test_same_bits_tells_apart_what_equality_does_not() -> None:
    zero, nan = np.array([0.0], np.float32), np.array([np.nan], np.float32)
    assert same_bits(nan, nan.copy()) and same_bits(zero[:0], zero[:0])
    assert not same_bits(zero, -zero)
    assert not same_bits(zero, zero.astype(np.float64))
    assert not same_bits(zero, zero[None])


def test_parameters_are_counted_by_block() -> None:
    converted = to_ours(TABLE, StateDict(state()), abstract())
    assert parameter_counts(converted.variables) == {"": 20, "block/dense": 8, "emb": 12}
