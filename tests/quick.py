"""`jax.jit` for models of a few thousand numbers, whose compilation costs more than their run."""

from functools import partial

import jax

quick_jit = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
"""Compiles in half the time; the program computes the same, slower."""
