"""A convolution by fours: the plain one's values, on CPUs only, local to a row."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.nn.convolution import by_fours, evaluated, plain
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from tests.lowered import collectives


def drawn(frames: int, mels: int = 6, rows: int = 2) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(frames)
    x = rng.standard_normal((rows, frames, mels, 5))
    kernel = rng.standard_normal((3, 3, 5, 7)) / 7
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 7, 8, 13])
def test_it_is_the_plain_convolution(frames: int) -> None:
    x, kernel = drawn(frames)
    np.testing.assert_allclose(by_fours(x, kernel), plain(x, kernel), rtol=0, atol=2e-5)


def test_accelerators_and_bfloat16_have_the_plain_one() -> None:
    given = drawn(8)
    programs = {
        platform: jax.jit(evaluated).trace(*given).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    counts = {platform: text.count("stablehlo.convolution") for platform, text in programs.items()}
    assert counts == {"cpu": 6, "cuda": 1, "tpu": 1}
    half = [leaf.astype(jnp.bfloat16) for leaf in given]
    assert jax.jit(evaluated).lower(*half).as_text().count("stablehlo.convolution") == 1


def test_no_row_leaves_its_device() -> None:
    x, kernel = drawn(8, rows=8)
    mesh = make_mesh(MeshConfig(8, 1, 1))
    rows = NamedSharding(mesh, PartitionSpec(("data",)))
    program = jax.jit(partial(evaluated, kernel=kernel), in_shardings=rows, out_shardings=rows)
    assert not collectives(program.lower(x).compile().as_text())
