"""Sharding of a train state by ordered rules on the paths of its leaves.

A path is what the tree says, joined by "/": `params/encoder/Conv_0/kernel`, and for the moments
of that leaf `opt_state/1/mu/encoder/Conv_0/kernel`; a rule that searches for
`encoder/Conv_0/kernel` places all three alike. The first rule that matches wins. A leaf without a
rule is split over `fsdp` along its largest divisible axis when it is large, else copied.
"""

import re
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec


@dataclass(frozen=True)
class Rule:
    """`pattern` is searched in the path; `axes` names a mesh axis, or None, for each array axis.

    Axes that `axes` leaves out at the end are whole; an empty tuple copies the leaf everywhere.
    """

    pattern: str
    axes: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Rules:
    """Rules in order, and the size in elements from which a leaf without a rule is split."""

    ordered: tuple[Rule, ...] = ()
    fsdp_from: int = 65536


class Placement(NamedTuple):
    """Where one leaf goes."""

    path: str
    shape: tuple[int, ...]
    spec: PartitionSpec


def leaf_path(key_path: tuple[Any, ...]) -> str:
    """The path of a leaf as rules see it."""
    return jax.tree_util.keystr(key_path, simple=True, separator="/")


def leaf_spec(
    path: str, shape: tuple[int, ...], mesh: Mesh | AbstractMesh, rules: Rules
) -> PartitionSpec:
    """The placement of one leaf. Raises ValueError when its rule does not fit it."""
    for rule in rules.ordered:
        if re.search(rule.pattern, path):
            _check_fits(rule, path, shape, mesh)
            return PartitionSpec(*rule.axes)
    divisible = [i for i, size in enumerate(shape) if size % mesh.shape["fsdp"] == 0]
    if mesh.shape["fsdp"] == 1 or prod(shape) < rules.fsdp_from or not divisible:
        return PartitionSpec()
    largest = max(divisible, key=lambda i: shape[i])
    return PartitionSpec(*(None,) * largest, "fsdp")


def _check_fits(rule: Rule, path: str, shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> None:
    where = f"sharding rule {rule.pattern!r} {rule.axes} on {path} {shape}"
    unknown = [axis for axis in rule.axes if axis is not None and axis not in mesh.shape]
    if unknown:
        raise ValueError(f"{where}: no mesh axis {unknown[0]!r}; there are {tuple(mesh.shape)}")
    if len(rule.axes) > len(shape):
        raise ValueError(f"{where}: {len(rule.axes)} axes for {len(shape)} of the leaf")
    for axis, size in zip(rule.axes, shape, strict=False):
        if axis is not None and size % mesh.shape[axis]:
            raise ValueError(
                f"{where}: {size} is not a multiple of the {mesh.shape[axis]} devices along "
                f"{axis!r}; change the rule or the mesh"
            )


def rules_table(abstract_tree: Any, mesh: Mesh | AbstractMesh, rules: Rules) -> list[Placement]:
    """The placement of every leaf of a tree of arrays or ShapeDtypeStructs, in tree order."""
    return [
        Placement(path, leaf.shape, leaf_spec(path, leaf.shape, mesh, rules))
        for path, leaf in (
            (leaf_path(key_path), leaf)
            for key_path, leaf in jax.tree_util.tree_leaves_with_path(abstract_tree)
        )
    ]


def undivided(abstract_tree: Any, mesh: Mesh | AbstractMesh, rules: Rules) -> str:
    """A sentence on the large leaves that are copied whole since no axis of theirs is a multiple of
    `fsdp`; "" where there are none."""
    fsdp = mesh.shape["fsdp"]
    sizes = [
        prod(shape)
        for path, shape, spec in rules_table(abstract_tree, mesh, rules)
        if prod(shape) >= rules.fsdp_from
        and not any(spec)
        and not any(re.search(rule.pattern, path) for rule in rules.ordered)
    ]
    if fsdp == 1 or not sizes:
        return ""
    return (
        f"{len(sizes)} large leaves of the state, {sum(sizes):,} numbers, are copied whole to "
        f"every device: none of their sizes is a multiple of mesh.fsdp={fsdp}; take another, such "
        "as a power of two"
    )


def tree_shardings(abstract_tree: Any, mesh: Mesh, rules: Rules) -> Any:
    """The same tree with a NamedSharding for every leaf."""
    placements = rules_table(abstract_tree, mesh, rules)
    return jax.tree.unflatten(
        jax.tree.structure(abstract_tree),
        [NamedSharding(mesh, placement.spec) for placement in placements],
    )
