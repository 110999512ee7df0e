"""adiff_jax: models that say in words how two recordings differ, in JAX.

The package root imports nothing heavy, so that data workers and `--help` start without a JAX
backend. `adiff_jax.load(run)` is resolved on first use.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load"]

if TYPE_CHECKING:
    from adiff_jax.api import load


def __getattr__(name: str) -> Any:
    if name == "load":
        from adiff_jax.api import load

        return load
    raise AttributeError(f"module 'adiff_jax' has no attribute {name!r}")
