"""Compiled once a shape; the cache goes where the user's caches go."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from adiff_jax.parallel.mesh import MeshConfig, batch_sharding, make_mesh
from adiff_jax.train.compilation import CompiledStep, enable_compile_cache


def test_one_program_a_shape_and_the_state_is_donated() -> None:
    said: list[str] = []
    traces = []

    def step(state: jax.Array, batch: dict[str, jax.Array], scale: float) -> jax.Array:
        traces.append(1)
        return state + scale * (batch["x"] @ batch["x"].T).sum()

    run = CompiledStep(step, None, said.append)
    state = jnp.zeros(3)
    for _ in range(3):
        before, state = state, run(state, {"x": jnp.ones((4, 5))}, 2.0)
        assert before.is_deleted()
    assert len(traces) == 1
    assert run.flops == 2 * 4 * 4 * 5
    first = run.flops
    state = run(state, {"x": jnp.ones((4, 6))}, 2.0)
    assert len(traces) == 2 and run.flops == 2 * 4 * 4 * 6
    run(state, {"x": jnp.ones((4, 5))}, 2.0)
    assert len(traces) == 2 and run.flops == first  # of the shape that was called last
    assert [line for line in said if "compiling" in line] == [
        "compiling (once)...",
        "compiling again: the batch now has x float32[4, 6]",
    ]


def test_operations_are_those_of_one_device_and_unknown_with_a_loop_of_unknown_length() -> None:
    mesh = make_mesh(MeshConfig())
    x = jax.device_put(jnp.ones((16, 5)), batch_sharding(mesh))

    def times(turns: int, x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda y, _: (y @ jnp.ones((5, 5)), None), x, length=turns)[0]

    def until(x: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda y: y.sum() < 9, lambda y: y @ jnp.ones((5, 5)), x)

    run = CompiledStep(lambda state, x: times(3, x), batch_sharding(mesh), str)
    run.prepare(jnp.zeros(3), x)
    assert run.flops == 3 * 2 * 16 * 5 * 5 / 8
    run = CompiledStep(lambda state, x: until(x), batch_sharding(mesh), str)
    run.prepare(jnp.zeros(3), x)
    assert run.flops is None


@pytest.fixture
def restored_setting() -> Iterator[None]:
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_the_cache_is_the_users_unless_the_environment_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored_setting: None
) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    enable_compile_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "adiff_jax" / "compiled")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    enable_compile_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
