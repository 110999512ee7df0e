"""Placement by ordered rules on paths."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Rule, Rules, rules_table, tree_shardings, undivided

PARAMS = {
    "encoder": {"Conv_0": {"kernel": jnp.zeros((3, 3, 8, 64)), "bias": jnp.zeros(64)}},
    "head": {"kernel": jnp.zeros((128, 62)), "scale": jnp.zeros((63, 65))},
}


def specs(rules: Rules, config: MeshConfig) -> dict[str, PartitionSpec]:
    state = {"params": PARAMS, "opt_state": optax.adam(1e-3).init(PARAMS)}
    abstract = jax.eval_shape(lambda: state)
    return {path: spec for path, _, spec in rules_table(abstract, make_mesh(config), rules)}


def test_the_first_rule_that_matches_wins_and_moments_follow_their_leaf() -> None:
    rules = Rules(
        (Rule("Conv_0/kernel$", (None, None, None, "tensor")), Rule("kernel$", ("fsdp", "tensor")))
    )
    found = specs(rules, MeshConfig(data=2, fsdp=2, tensor=2))
    for root in ("params", "opt_state/0/mu", "opt_state/0/nu"):
        assert found[f"{root}/encoder/Conv_0/kernel"] == PartitionSpec(None, None, None, "tensor")
        assert found[f"{root}/head/kernel"] == PartitionSpec("fsdp", "tensor")
        assert found[f"{root}/encoder/Conv_0/bias"] == PartitionSpec()
    assert found["opt_state/0/count"] == PartitionSpec()


def test_large_leaves_without_a_rule_are_split_along_their_largest_divisible_axis() -> None:
    found = specs(Rules(fsdp_from=1000), MeshConfig(data=2, fsdp=4))
    assert found["params/encoder/Conv_0/kernel"] == PartitionSpec(None, None, None, "fsdp")
    assert found["params/head/kernel"] == PartitionSpec("fsdp")
    assert found["params/head/scale"] == PartitionSpec()  # 63 x 65: nothing divides by 4
    assert found["params/encoder/Conv_0/bias"] == PartitionSpec()  # small
    assert set(specs(Rules(fsdp_from=1), MeshConfig()).values()) == {PartitionSpec()}


def test_large_leaves_that_fsdp_does_not_divide_are_counted_in_a_sentence() -> None:
    tree = {name: jax.ShapeDtypeStruct((7, 100), jnp.float32) for name in ("odd", "ruled")}
    tree |= {"even": jax.ShapeDtypeStruct((8, 100), jnp.float32), "few": jnp.zeros(3)}
    rules = Rules((Rule("ruled"),), fsdp_from=500)
    said = undivided(tree, make_mesh(MeshConfig(fsdp=8)), rules)
    assert said.startswith("1 large leaves of the state, 700 numbers") and "mesh.fsdp=8" in said
    assert undivided(tree, make_mesh(MeshConfig()), rules) == ""
    assert undivided({"even": tree["even"]}, make_mesh(MeshConfig(fsdp=8)), rules) == ""


def test_a_rule_without_axes_copies_a_large_leaf() -> None:
    found = specs(Rules((Rule("Conv_0"),), fsdp_from=1), MeshConfig(data=1, fsdp=8))
    assert found["params/encoder/Conv_0/kernel"] == PartitionSpec()
    assert found["params/head/kernel"] == PartitionSpec("fsdp")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("head/kernel", (None, "tensor")), r"head/kernel \(128, 62\): 62 is not a multiple"),
        (Rule("bias", (None, "tensor")), "bias .*2 axes for 1 of the leaf"),
        (Rule("head", ("model",)), "no mesh axis 'model'; there are .*'tensor'"),
    ],
)
def test_a_rule_that_does_not_fit_its_leaf_is_an_error_that_names_both(
    rule: Rule, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        specs(Rules((rule,)), MeshConfig(data=2, tensor=4))


def test_arrays_placed_by_the_rules_are_really_split() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    shardings = tree_shardings(jax.eval_shape(lambda: PARAMS), mesh, Rules(fsdp_from=1))
    placed = jax.device_put(PARAMS, shardings)
    kernel = placed["head"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(32, 62)}
    np.testing.assert_array_equal(kernel, PARAMS["head"]["kernel"])
