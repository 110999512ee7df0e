"""Slices by name. What needs libtpu (the extra [aot]) is skipped without it."""

from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from adiff_jax.aot import topology
from adiff_jax.aot.chips import CHIPS, SLICES
from adiff_jax.aot.topology import describe
from adiff_jax.audio.frontends import BYOLA, log_mel
from adiff_jax.decode.beam import Beam, beam_search
from adiff_jax.decode.rooms import Rooms
from adiff_jax.parallel.mesh import MeshConfig, batch_sharding, make_mesh
from tests.lowered import collectives, products

needs_libtpu = pytest.mark.skipif(
    find_spec("libtpu") is None, reason="no libtpu: install the extra [aot]"
)


@pytest.mark.parametrize("name", ["v5litepod-16", "v9:2x2", "v5e", "v5e:4", "v4-32", ""])
def test_a_name_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(ValueError, match="no topology") as caught:
        describe(name)
    assert "v5e:1x1 2x2 2x4" in str(caught.value)


def test_without_libtpu_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"\[aot\]"):
        describe("v5e:2x2")


def test_every_chip_has_a_peak_and_slices() -> None:
    assert SLICES.keys() == CHIPS.keys()
    assert all(chip.peak > 1e13 for chip in CHIPS.values())


@needs_libtpu
@pytest.mark.parametrize("chip", CHIPS)
def test_every_slice_that_is_listed_exists(chip: str) -> None:
    for shape in SLICES[chip]:
        found = describe(f"{chip}:{shape}")
        sizes = [int(size) for size in shape.split("x")]
        assert found.chips == jnp.prod(jnp.array(sizes))
        assert {device.device_kind for device in found.devices} == {CHIPS[chip].kind}


@needs_libtpu
def test_a_shape_that_libtpu_refuses_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match="not divisible") as caught:
        describe("v5e:3x4")
    assert "v5e:1x1 2x2" in str(caught.value)


@needs_libtpu
def test_the_data_axis_alone_goes_from_slice_to_slice() -> None:
    devices = describe("v5e:2x2", 2).devices
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2), devices)
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    for number in (0, 1):
        assert len({device.slice_index for device in mesh.devices[number].flat}) == 1
    with pytest.raises(ValueError, match="over 2 slices"):
        make_mesh(MeshConfig(fsdp=8), devices)


@needs_libtpu
@pytest.mark.parametrize(("name", "fsdp"), [("v6e:16x16", 8), ("v4:4x8x8", 2), ("v5e:16x16", 64)])
def test_an_axis_of_the_mesh_need_be_none_of_the_slice(name: str, fsdp: int) -> None:
    devices = describe(name).devices
    mesh = make_mesh(MeshConfig(fsdp=fsdp), devices)
    assert mesh.shape["fsdp"] == fsdp
    assert {*mesh.devices.flat} == {*devices}


@needs_libtpu
def test_a_frontend_cuts_its_frames_without_a_loop() -> None:
    device = jax.sharding.SingleDeviceSharding(describe("v5e:2x2").devices[0])
    waves = jax.ShapeDtypeStruct((2, BYOLA.rate), jnp.float32, sharding=device)
    compiled = jax.jit(lambda audio: log_mel(BYOLA, audio)).lower(waves).compile()
    assert " while(" not in compiled.as_text()


@needs_libtpu
@pytest.mark.slow
def test_a_beam_search_comes_to_an_end_of_compiling() -> None:
    """Gathered hypotheses kept libtpu 0.0.51 busy for more than 15 minutes; this takes seconds."""
    device = jax.sharding.SingleDeviceSharding(describe("v5e:2x2").devices[0])

    def extend(cache: jax.Array, token: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.sin(cache.sum(axis=1)[:, None] + token[:, None] * jnp.arange(64)), cache + 1

    def search(logits: jax.Array, cache: jax.Array, valid: jax.Array) -> Any:
        rooms = Rooms((8,), (None,))
        return beam_search(extend, logits, cache, valid, Beam(size=4), rooms, (0,))

    shapes = ((2, 64), jnp.float32), ((2, 9), jnp.float32), ((2,), jnp.bool_)
    given = [jax.ShapeDtypeStruct(*shape, sharding=device) for shape in shapes]
    assert jax.jit(search).lower(*given).compile() is not None


@needs_libtpu
def test_the_frontend_of_a_tpu_talks_to_no_device_and_is_of_highest_precision() -> None:
    mesh = make_mesh(MeshConfig(), describe("v5e:2x2").devices)
    waves = jax.ShapeDtypeStruct((8, BYOLA.rate), jnp.float32, sharding=batch_sharding(mesh))
    lowered = jax.jit(lambda audio: log_mel(BYOLA, audio)).lower(waves)
    found = products(lowered)
    assert found and all(product.highest and product.type == "f32" for product in found)
    assert collectives(lowered.compile().as_text()) == []
