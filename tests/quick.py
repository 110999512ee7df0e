"""Compiling models of a few thousand numbers, which costs more than running them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import pytest

quick_jit = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
"""Compiles in half the time; the program computes the same, slower."""


@contextmanager
def options(**values: Any) -> Iterator[None]:
    """JAX's options for a while."""
    before = {name: jax.config.values[name] for name in values}
    for name, value in values.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """For a conftest.py to import: programs are compiled without optimising."""
    with options(jax_disable_most_optimizations=True):
        yield
