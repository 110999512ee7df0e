"""Compiling the step: once, ahead of time, cached on disk, said aloud."""

import contextlib
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import jax
from jax.extend import core

from adiff_jax.train.flops import UnknownLoopError, count

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def enable_compile_cache() -> Path | str:
    """Keep compiled programs on disk, so that a restart need not compile again.

    In the directory that JAX_COMPILATION_CACHE_DIR names, else in the user's cache directory;
    returns it.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = chosen or home / "adiff_jax" / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(directory))
    return directory


def jit_step(step: Callable[..., Any], out_shardings: Any) -> Any:
    """The step (state, batch, ...) as training runs it: the state is donated."""
    return jax.jit(step, donate_argnums=0, out_shardings=out_shardings)


class CompiledStep:
    """A jitted function of (state, batch, ...) compiled ahead of time for each shape of batch.

    The state is donated. `say` hears of every compilation: one is expected; each further one
    names what changed, and `recompilations` counts those beyond the number of `shapes` that the
    data come in. `spend("compile")` is entered while one goes on. `flops` are the products
    (`train.flops`) of one device in the latest call; None where a loop's length is not known.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        out_shardings: Any,
        say: Callable[[str], None],
        shapes: int = 1,
        spend: Callable[[Literal["compile"]], AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self._jitted = jit_step(step, out_shardings)
        placed = jax.tree.leaves(out_shardings)
        self._devices = max((len(sharding.device_set) for sharding in placed), default=1)
        self._say, self._shapes, self._spend = say, shapes, spend
        self._compiled: dict[tuple[Any, ...], tuple[Callable[..., Any], float | None]] = {}
        self.flops: float | None = None

    @property
    def recompilations(self) -> int:
        """Programs that are not accounted for by the shapes of the data."""
        return max(0, len(self._compiled) - self._shapes)

    def __call__(self, state: Any, batch: Any, *scalars: Any) -> Any:
        return self.prepare(state, batch, *scalars)(state, batch, *scalars)

    def prepare(self, state: Any, batch: Any, *scalars: Any) -> Callable[..., Any]:
        """The program for arguments like these (arrays or ShapeDtypeStructs), compiled if new."""
        shapes = tuple(
            f"{jax.tree_util.keystr(path, simple=True)} {leaf.dtype}{list(leaf.shape)}"
            for path, leaf in jax.tree_util.tree_leaves_with_path(batch)
        )
        if shapes not in self._compiled:
            changed = sorted(set(shapes) - set(list(self._compiled)[-1] if self._compiled else ()))
            again = f"compiling again: the batch now has {', '.join(changed)}"
            self._say(again if self._compiled else "compiling (once)...")
            start = time.perf_counter()
            with self._spend("compile"):
                traced = self._jitted.trace(state, batch, *scalars)
                compiled = traced.lower().compile()
            self._say(f"compiled in {time.perf_counter() - start:.1f} s")
            self._compiled[shapes] = compiled, self._products(traced.jaxpr)
        known, self.flops = self._compiled[shapes]
        return known

    def _products(self, program: core.ClosedJaxpr) -> float | None:
        try:
            return count(program).count / self._devices
        except UnknownLoopError:
            return None
