"""Collectives read from the text of a compiled program."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.aot.collectives import Collective, collectives
from adiff_jax.parallel.mesh import MeshConfig, make_mesh

SUM = "%add.1 (a: f32[], b: f32[]) -> f32[] {\n  ROOT %c = f32[] add(%a, %b)\n}\n"


def program(*lines: str, before: str = "") -> str:
    body = "\n".join(f"  {line}" for line in lines)
    entry = f"ENTRY %main (p: f32[]) -> f32[] {{\n{body}\n}}\n"
    return f"HloModule jit_step, is_scheduled=true\n\n{SUM}\n{before}{entry}"


def only(text: str, devices: int = 8, turns: tuple[int, ...] = ()) -> Collective:
    (found,) = collectives(text, devices, turns).found
    return found


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", 4),
        ("replica_groups=[4,2]<=[8]", 2),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}", 4),
        ("replica_groups=mesh['a'=2,'b'=4] {'a', 'b'}", 8),
        ("replica_groups={}", 8),
    ],
)
def test_groups_are_read_in_every_form(groups: str, size: int) -> None:
    line = f"%r = f32[256]{{0:T(256)}} all-reduce(%p), channel_id=1, {groups}, to_apply=%add.1"
    assert only(program(line)).devices == size


@pytest.mark.parametrize(
    ("line", "payload", "moved"),
    [
        ("%r = f32[256]{0} all-reduce(%p), to_apply=%add.1", 1024, 2 * 896),
        ("%r = (bf16[256]{0:T(256)(2,1)}, /*index=1*/f32[])  all-reduce(%p, %q)", 516, 903),
        ("%r = f32[8,256]{1,0:T(8,128)S(1)} all-gather(%p), dimensions={0}", 8192, 7168),
        ("%r = f32[32]{0} reduce-scatter(%p), dimensions={0}, to_apply=%add.1", 1024, 896),
        ("%r = pred[64]{0} collective-permute(%p), source_target_pairs={{0,1}}", 64, 64),
    ],
)
def test_bytes_are_those_of_a_ring(line: str, payload: float, moved: float) -> None:
    found = only(program(line.replace(")  all", ") all")))
    assert (found.payload, found.moved) == (payload, moved)
    assert found.exposed


START = "%s = (f32[32]{0}, f32[256]{0}) all-gather-start(%p), dimensions={0}"
DONE = "%d = f32[256]{0} all-gather-done(%s)"
WORK = "%f = f32[9]{0} fusion(%p), kind=kLoop, calls=%add.1"
IDLE = "%b = f32[] bitcast(%p)"


def test_a_pair_with_work_between_can_overlap_and_counts_its_result_once() -> None:
    covered = only(program(START, WORK, DONE))
    assert not covered.exposed
    assert covered.payload == 1024
    assert only(program(START, IDLE, DONE, WORK)).exposed
    other = "%d2 = f32[256]{0} all-gather-done(%s.1)"
    assert only(program(START, other, WORK, DONE)).exposed is False


def test_a_collective_that_fusions_carry_on_counts_once_and_can_overlap() -> None:
    gather = "%g = f32[256]{0} all-gather(%p), channel_id=7, dimensions={0}"
    carried = "".join(
        f"%{name} (p: f32[]) -> f32[] {{\n  {gather}\n  ROOT %c = f32[] copy(%p)\n}}\n\n"
        for name in ("begin", "async_collective_fusion.3", "finish")
    )
    start = "%async-collective-start.2 = f32[256]{0} fusion(%p), kind=kCustom, calls=%begin"
    work = "%fusion.9 = f32[9]{0} fusion(%p), kind=kOutput, calls=%async_collective_fusion.3"
    done = "%async-collective-done.2 = f32[256]{0} fusion(%s), kind=kCustom, calls=%finish"
    found = only(program(start, work, done, before=carried))
    assert (found.kind, found.payload, found.exposed) == ("all-gather", 1024, False)
    body = "%body (p: f32[]) -> f32[] {\n  " + work + "\n  ROOT %o = f32[] copy(%p)\n}\n\n"
    turning = '%w = f32[] while(%p), body=%body, backend_config={"known_trip_count":{"n":"12"}}'
    through = only(program(start, turning, done, before=carried + body))
    assert (through.times, through.payload, through.exposed) == (1, 1024, False)
    assert only(program(start, done, work, before=carried)).exposed
    assert only(program(start, work, done.replace("done.2", "done.5"), before=carried)).exposed


def loop(attributes: str = "") -> tuple[str, str]:
    body = (
        "%body (p: f32[]) -> f32[] {\n"
        "  %r = f32[256]{0} all-reduce(%p), to_apply=%add.1\n  ROOT %o = f32[] copy(%p)\n}\n\n"
    )
    return f"%w = f32[] while(%p), condition=%cond, body=%body{attributes}", body


def test_what_is_in_a_loop_counts_as_often_as_it_turns() -> None:
    line, body = loop(', backend_config={"known_trip_count":{"n":"12"}}')
    found = only(program(line, before=body))
    assert (found.times, found.payload) == (12, 12 * 1024)
    line, body = loop()
    assert only(program(line, before=body), turns=(7,)).times == 7
    condition = (
        "%cond (p: (s32[], f32[])) -> pred[] {\n  %c.1 = s32[]{:T(128)} constant(5)\n"
        "  %i = s32[]{:T(128)} get-tuple-element(%p), index=0\n"
        "  ROOT %lt = pred[]{:T(512)} compare(%i, %c.1), direction=LT\n}\n\n"
    )
    assert only(program(line, before=body + condition), turns=(7,)).times == 5
    read = collectives(program(line, before=body), 8)
    assert read.unknown_loops == 1
    assert read.found[0].times == 1


def test_fused_and_wrapped_collectives_are_found() -> None:
    wrapped = (
        "%wrapped (q: f32[256]) -> f32[256] {\n"
        "  ROOT %r = f32[256]{0} all-reduce(%q), to_apply=%add.1\n}\n\n"
    )
    start = "%a = ((f32[256]{0}), f32[256]{0}, u32[]) async-start(%p), calls=%wrapped"
    done = "%z = f32[256]{0} async-done(%a)"
    assert not only(program(start, WORK, done, before=wrapped)).exposed
    assert only(program(start, done, before=wrapped)).exposed
    fused = "%f = f32[256]{0} fusion(%p), kind=kCustom, calls=%wrapped"
    assert only(program(fused, before=wrapped)).payload == 1024


def test_a_real_program_gathers_what_it_says() -> None:
    mesh = make_mesh(MeshConfig())
    rows = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())
    given = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=rows)
    compiled = jax.jit(lambda x: x * 2, out_shardings=whole).lower(given).compile()
    found = only(compiled.as_text())
    assert (found.kind, found.devices, found.payload) == ("all-gather", 8, 64 * 32 * 4)


def test_a_text_that_is_no_program_is_refused() -> None:
    with pytest.raises(ValueError, match="no ENTRY"):
        collectives("nothing", 8)
