"""Reads what a program was lowered and compiled to."""

import re
from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class Product:
    """One matrix product of a lowered program."""

    shape: tuple[int, ...]  # of its result
    type: str  # of its left operand: "f32", "bf16"
    highest: bool  # whether both operands are taken at highest precision


def products(lowered: jax.stages.Lowered) -> list[Product]:
    """Every `dot_general` of a program, before any backend has touched it."""
    found = []
    for line in lowered.as_text().splitlines():
        if "stablehlo.dot_general" not in line:
            continue
        types = re.findall(r"tensor<([0-9x]*)([a-z]+[0-9]+)>", line)
        left, result = types[-3], types[-1]
        shape = tuple(int(size) for size in result[0].split("x") if size)
        found.append(Product(shape, left[1], "precision = [HIGHEST, HIGHEST]" in line))
    return found


def collectives(compiled: str) -> list[str]:
    """Instructions of a compiled program by which devices talk to each other."""
    names = (
        "all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute|collective-broadcast"
    )
    return re.findall(rf"= .*\b(?:{names})(?:-start)?\(.*", compiled)
