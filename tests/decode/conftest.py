"""Compiling these small models with optimisation takes longer than running them without."""

from tests.quick import quick as quick
