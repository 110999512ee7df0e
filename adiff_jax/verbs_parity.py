"""The verb `parity`: a PyTorch module beside its Flax twin."""

import argparse
import sys

EXAMPLES = """FILE defines get_parity() -> Parity, of adiff_jax.convert.parity; see docs/porting.md.
Exits with 1 when an output or a gradient differs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb."""
    parser.add_argument("file", help="a Python file with get_parity() -> Parity")


def parity(options: argparse.Namespace, rest: list[str]) -> None:
    """Compare shapes, outputs and gradients, and print every difference."""
    from adiff_jax.convert.parity import Parity, compare, is_mistake, need_torch, report
    from adiff_jax.experiment import ConfigError, call_config

    need_torch()  # before the file imports it and fails with another message
    found = call_config(options.file, "get_parity")
    if not isinstance(found, Parity):
        raise ConfigError(f"get_parity() of {options.file} returned {type(found).__name__}")
    differences = compare(found)
    for line in report(found, differences):
        print(line)
    sys.exit(1 if any(is_mistake(found, row) for row in differences) else 0)
