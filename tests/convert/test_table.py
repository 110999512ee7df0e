"""Layouts move values and nothing else; rules match names, and only those."""

import numpy as np
import pytest

from adiff_jax.convert.table import (
    Convolution,
    Flat,
    Layout,
    Matrix,
    Rule,
    Same,
    Table,
    below,
    match,
)

LAYOUTS: dict[str, tuple[Layout, tuple[int, ...], tuple[int, ...]]] = {
    "vector": (Same(), (5,), (5,)),
    "bias of heads": (Flat(), (3, 2, 4), (24,)),
    "Linear": (Matrix(), (5, 7), (7, 5)),
    "Linear to heads": (Matrix(), (5, 3, 2, 4), (24, 5)),
    "Linear from heads": (Matrix(inputs=2), (2, 4, 5), (5, 8)),
    "Conv1D to heads": (Matrix(transposed=False), (5, 3, 2, 4), (5, 24)),
    "Conv1D from heads": (Matrix(inputs=2, transposed=False), (2, 4, 5), (8, 5)),
    "convolution": (Convolution(), (3, 4, 5, 6), (6, 5, 3, 4)),
    "convolution, time first": (Convolution((3, 2, 1, 0)), (3, 4, 5, 6), (6, 5, 4, 3)),
}
every_layout = pytest.mark.parametrize(("layout", "ours", "theirs"), LAYOUTS.values(), ids=LAYOUTS)


@every_layout
def test_a_layout_is_undone_by_its_inverse(layout: Layout, ours: tuple, theirs: tuple) -> None:
    there = np.random.default_rng(0).standard_normal(theirs).astype(np.float32)
    here = layout.to_ours(there, ours)
    assert here.shape == ours and layout.to_torch(here).shape == theirs
    np.testing.assert_array_equal(layout.to_torch(here), there)


def test_queries_keys_and_values_lie_one_after_the_other_in_a_linear() -> None:
    """y = W x, cut in three and then in heads, is what the kernel [d 3 h k] gives."""
    rng = np.random.default_rng(1)
    weight, x = rng.standard_normal((3 * 2 * 4, 5)), rng.standard_normal(5)
    kernel = Matrix().to_ours(weight, (5, 3, 2, 4))
    queries, keys, values = np.split(weight @ x, 3)
    expected = [queries.reshape(2, 4), keys.reshape(2, 4), values.reshape(2, 4)]
    np.testing.assert_allclose(np.einsum("d,dchk->chk", x, kernel), expected)


def test_heads_are_joined_before_an_output_projection() -> None:
    rng = np.random.default_rng(2)
    weight, heads = rng.standard_normal((5, 8)), rng.standard_normal((2, 4))
    kernel = Matrix(inputs=2).to_ours(weight, (2, 4, 5))
    np.testing.assert_allclose(np.einsum("hk,hkd->d", heads, kernel), weight @ heads.reshape(-1))


def test_numbers_are_the_same_on_both_sides() -> None:
    table = Table("toy", (Rule("a.{i}.b.{j}.w", "params/x_{i}/y_{j}"),))
    assert table.rule_of("params/x_3/y_12") == ("a.3.b.12.w", Same())
    assert table.rule_of("params/x_3/y_z") is None
    assert match("a.{i}.b", "axb.b") is None and match("a.{i}", "a.1.2") is None


def test_prefixes_come_off_once_each_in_order() -> None:
    table = Table("toy", (), prefixes=("module.", "inner."))
    names = ("w", "module.w", "module.inner.w", "inner.w")
    assert {table.canonical(name) for name in names} == {"w"}
    assert table.canonical("module.module.w") == "module.w"


def test_a_part_is_placed_below_names_of_a_whole() -> None:
    part = (Rule("w", "params/k"), Rule("running_var", "batch_stats/v"))
    assert below(part, "enc.", "clips") == (
        Rule("enc.w", "params/clips/k"),
        Rule("enc.running_var", "batch_stats/clips/v"),
    )
    assert below(part, "enc.", "")[0] == Rule("enc.w", "params/k")
