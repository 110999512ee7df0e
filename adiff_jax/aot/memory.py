"""What a compiled program holds on one device, by kind, and what the compiler says when it is too
much."""

import re
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import jax

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class TooMuch(NamedTuple):
    """What the compiler refused, in bytes of one device; `details` are its own words."""

    needed: float
    available: float
    details: str


def bytes_by_kind(given: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of the arguments on one device, without the compiler's padding."""
    return {kind: sum(map(_bytes, jax.tree.leaves(tree))) for kind, tree in given.items()}


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
    sharding = leaf.sharding
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return prod(shape) * leaf.dtype.itemsize


def memory(compiled: jax.stages.Compiled, given: Mapping[str, Any]) -> dict[str, int]:
    """Bytes on one device by kind: the arguments that the program reads, and what it adds.

    `padding` is what the compiler's layouts add to the arguments (less than nothing where an
    argument is not read, and so not kept). `output` is what comes out and is not written over an
    argument. `temporaries` are activations, gradients and buffers of collectives together, at their
    most: the compiler lets them share memory, and does not say which is which (`aot/activations.py`
    says what activations are as traced).
    """
    stats: Any = compiled.memory_analysis()
    kinds = bytes_by_kind(given)
    return kinds | {
        "padding": stats.argument_size_in_bytes - sum(kinds.values()),
        "output": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
    }


def too_much(error: Exception) -> TooMuch | None:
    """What the compiler says of a program that does not fit; None for any other error."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text or "hbm" not in text.lower():
        return None
    found = re.findall(r"\b(\d+(?:\.\d+)?)([KMGT])\b", text)
    sizes = [float(number) * _UNITS[unit] for number, unit in found]
    if len(sizes) < 2:
        return None
    lines = text.splitlines()
    # Needed and available come first, then the largest allocations, where the compiler lists them.
    return TooMuch(sizes[0], sizes[1], "\n".join(lines[:40]))
