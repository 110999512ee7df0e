"""State dictionaries through a table, both ways, so that nothing is lost or made up.

torch -> JAX: every entry of the file becomes a leaf, equals the entry it is tied to, or is carried;
every leaf of the model is filled. What does not fit is listed, all of it, in one error.
JAX -> torch: the sidecar of the conversion says which entries there were, under which names, in
which order, dtype and shape; they are made from the leaves, or given back as carried, so that both
ways together change no bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, tree_leaves_with_path

from adiff_jax.convert.table import Layout, Table

_EXACT_IN_FLOAT32 = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(jnp.bfloat16))

Variables = Mapping[str, Any]


class ConversionError(ValueError):
    """A checkpoint and a model that do not fit; the message lists every entry that does not."""


@dataclass(frozen=True)
class Entry:
    """One entry of the file: its name there and without prefixes, its dtype and shape."""

    name: str
    canonical: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Sidecar:
    """What a conversion keeps beside the weights so that an export gives back the same file.

    `container` is the key that the state dictionary was under ("" for none); `carried` holds the
    entries without a leaf, by canonical name.
    """

    table: str
    container: str
    entries: tuple[Entry, ...]
    carried: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class StateDict:
    """The entries of a file in its order, and the key it had them under ("" for none)."""

    entries: Mapping[str, np.ndarray]
    container: str = ""


@dataclass(frozen=True)
class Converted:
    """Our variables (numpy, float32 where the model has float32) and the sidecar."""

    variables: dict[str, Any]
    sidecar: Sidecar


def canonical_entries(table: Table, entries: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Entries by name without prefixes. ConversionError when two become one."""
    result: dict[str, np.ndarray] = {}
    for name, value in entries.items():
        if table.canonical(name) in result:
            raise ConversionError(
                f"two entries are called {table.canonical(name)!r} once the prefixes "
                f"{', '.join(table.prefixes)} are taken off: {name!r} is one of them"
            )
        result[table.canonical(name)] = value
    return result


def to_ours(table: Table, state: StateDict, abstract: Variables) -> Converted:
    """The file's weights as variables of the shapes of `abstract` ({"params", "batch_stats"}).

    Raises ConversionError with all unmatched entries, unfilled leaves, wrong shapes and dtypes,
    entries that differ from what they are tied to, and constants that differ from ours.
    """
    theirs = canonical_entries(table, state.entries)
    wanted, problems = _wanted(table, abstract)
    for name, (leaf, layout, shape) in wanted.items():
        if name not in theirs:
            problems.append(f"unfilled: {leaf} {shape} needs {name!r}, which the file lacks")
            continue
        expected, value = torch_shape(layout, shape), theirs[name]
        if value.shape != expected:
            problems.append(f"wrong shape: {name!r} is {value.shape}, the model needs {expected}")
        elif value.dtype not in _EXACT_IN_FLOAT32:
            problems.append(
                f"wrong dtype: {name!r} is {value.dtype}; float32, float16 and bfloat16 are taken"
            )
    carried = {}
    tied = {entry.source: entry.to for entry in table.tied}
    for name, value in theirs.items():
        if name in wanted:
            continue
        if name in tied:
            other = theirs.get(tied[name])
            if other is not None and not same_bits(value, other):
                problems.append(
                    f"not tied: {name!r} differs from {tied[name]!r}; the model has one"
                )
        elif (carrier := table.carrier_of(name)) is not None:
            carried[name] = value
            if carrier.check is not None and (complaint := carrier.check(value)):
                problems.append(f"other constant: {name!r} {complaint}")
        else:
            problems.append(f"unmatched: {name!r} {value.shape} is not a part of this model")
    if problems:
        raise ConversionError(_listed(f"the file is no {table.name} checkpoint of ours", problems))
    leaves = {
        leaf: np.ascontiguousarray(
            layout.to_ours(theirs[name], shape).astype(np.float32, copy=False)
        )
        for name, (leaf, layout, shape) in wanted.items()
    }
    entries = tuple(
        Entry(name, table.canonical(name), value.dtype.name, value.shape)
        for name, value in state.entries.items()
    )
    return Converted(_tree(leaves), Sidecar(table.name, state.container, entries, carried))


def to_torch(table: Table, variables: Variables, sidecar: Sidecar) -> StateDict:
    """The entries that `sidecar` lists, from the leaves of `variables`, contiguous.

    Raises ConversionError with all entries that cannot be made in their shape and all leaves that
    would be left behind.
    """
    wanted, problems = _wanted(table, variables)
    leaves = _by_path(variables)
    tied = {entry.source: entry.to for entry in table.tied}
    result, used = {}, set()
    for entry in sidecar.entries:
        name = tied.get(entry.canonical, entry.canonical)
        if name in wanted:
            leaf, layout, _ = wanted[name]
            used.add(name)
            value = layout.to_torch(np.asarray(leaves[leaf])).astype(_dtype(entry.dtype))
        elif name in sidecar.carried:
            value = sidecar.carried[name]
        else:
            problems.append(f"{entry.name!r} has no leaf in this run and was not carried")
            continue
        if value.shape != entry.shape:
            problems.append(f"{entry.name!r} was {entry.shape}; this run has {value.shape}")
            continue
        result[entry.name] = np.asarray(value, order="C")
    for name in wanted.keys() - used:
        problems.append(f"{wanted[name][0]} is {name!r}, which the converted file did not have")
    if problems:
        raise ConversionError(_listed("the run does not fit the file to write", problems))
    return StateDict(result, sidecar.container)


def parameter_counts(variables: Variables, depth: int = 2) -> dict[str, int]:
    """Parameters of each block, a block being a path of at most `depth` names; "" is the sum."""
    counts: dict[str, int] = {"": 0}
    for path, leaf in _by_path({"params": variables["params"]}).items():
        block = "/".join(path.split("/")[1:-1][:depth]) or path.split("/")[-1]
        size = int(np.prod(leaf.shape))
        counts[block] = counts.get(block, 0) + size
        counts[""] += size
    return counts


def torch_shape(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in PyTorch of a leaf of ours."""
    return layout.to_torch(np.broadcast_to(np.float32(0), shape)).shape


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal in dtype, shape and every bit (so that NaN equals itself and 0 is not -0)."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.size == 0:
        return True
    bits = np.dtype(f"u{one.dtype.itemsize}")
    return np.array_equal(
        np.ascontiguousarray(one).view(bits), np.ascontiguousarray(other).view(bits)
    )


def _wanted(
    table: Table, variables: Variables
) -> tuple[dict[str, tuple[str, Layout, tuple[int, ...]]], list[str]]:
    """PyTorch name -> (leaf, layout, shape), and a complaint for each leaf without a rule, or with
    the name of another."""
    wanted: dict[str, tuple[str, Layout, tuple[int, ...]]] = {}
    problems = []
    for leaf, value in _by_path(variables).items():
        rule = table.rule_of(leaf)
        if rule is None:
            problems.append(f"unfilled: {leaf} {value.shape} is in no rule of the table")
        elif rule[0] in wanted:
            problems.append(f"claimed twice: {leaf} and {wanted[rule[0]][0]} need {rule[0]!r}")
        else:
            wanted[rule[0]] = (leaf, rule[1], tuple(value.shape))
    return wanted, problems


def _by_path(variables: Variables) -> dict[str, Any]:
    found = {}
    for path, leaf in tree_leaves_with_path(dict(variables)):
        names = [str(part.key) if isinstance(part, DictKey) else str(part) for part in path]
        found["/".join(names)] = leaf
    return found


def _tree(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for path, leaf in leaves.items():
        *names, last = path.split("/")
        node = tree
        for name in names:
            node = node.setdefault(name, {})
        node[last] = leaf
    return tree


def _dtype(name: str) -> np.dtype:
    return np.dtype(jnp.bfloat16) if name == "bfloat16" else np.dtype(name)


def _listed(what: str, problems: list[str]) -> str:
    return f"{what}; {len(problems)} problem(s), nothing was written:\n  " + "\n  ".join(problems)
