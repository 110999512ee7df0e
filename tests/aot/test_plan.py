"""A plan end to end, on the eight CPU devices of the tests in place of a slice."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import pytest

from adiff_jax.aot.advice import advice
from adiff_jax.aot.chips import CHIPS
from adiff_jax.aot.memory import TooMuch, bytes_by_kind, too_much
from adiff_jax.aot.plan import Measured, Plan, plan
from adiff_jax.aot.programs import decode_step, train_step
from adiff_jax.aot.report import HEAD, as_json, report, row
from adiff_jax.aot.roofline import roofline
from adiff_jax.aot.topology import Slice
from adiff_jax.experiment import Experiment
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.train.flops import Flops
from tests.quick import options
from tests.top.tiny_run import adc, cl4ac, tagger


def fake() -> Slice:
    return Slice("v5e:2x4", CHIPS["v5e"], 1, jax.devices())


@pytest.fixture(scope="module")
def planned() -> Plan:
    seen: list[Plan] = []
    with options(jax_disable_most_optimizations=True):
        found = plan(cl4ac(), fake(), lambda _: None, seen.append)
    assert [len(so_far.programs) for so_far in seen] == [1, 2]
    return found


@pytest.mark.slow
def test_both_programs_are_measured_and_fit(planned: Plan) -> None:
    assert planned.fits
    assert [program.name for program in planned.programs] == ["train step", "decode step"]
    for program in planned.programs:
        assert program.flops.count > 0
        assert program.compiler_flops and program.bytes_accessed and program.roofline
        assert program.memory["temporaries"] > 0
    train, _ = planned.programs
    assert train.collectives is not None
    reduced = [one for one in train.collectives.found if one.kind == "all-reduce"]
    # Gradients of every parameter that is trained are summed over the devices.
    assert sum(one.payload for one in reduced) >= train.memory["parameters"]


def test_a_tagger_has_no_decode_step() -> None:
    assert decode_step(tagger(), make_mesh(MeshConfig())) is None


def test_kinds_are_the_bytes_of_their_trees_and_fsdp_divides_them() -> None:
    experiment = adc("unused")
    rules = replace(experiment.train.sharding, fsdp_from=1)
    experiment = replace(experiment, train=replace(experiment.train, sharding=rules))
    whole = train_step(experiment, make_mesh(MeshConfig()))
    split = train_step(experiment, make_mesh(MeshConfig(fsdp=8)))
    sizes, parts = bytes_by_kind(whole.given), bytes_by_kind(split.given)
    expected = sum(
        leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(whole.given["parameters"])
    )
    assert sizes["parameters"] == expected
    assert expected / 8 <= parts["parameters"] < expected / 4  # some axes are odd
    assert sizes["batch"] == parts["batch"]


@pytest.mark.slow
def test_a_report_says_all_and_reads_as_json(planned: Plan) -> None:
    said = report(planned)
    for words in ("chips: 8", "fits", "parameters", "temporaries", "all-reduce", "MFU at most"):
        assert words in said
    assert "819 GB/s" in said  # the figures that were reckoned with
    found = json.loads(json.dumps(as_json(planned)))
    assert found["fits"] and found["programs"][0]["roofline"]["seconds"] > 0
    cells = row(planned, planned.programs[0]).count("|")
    assert {line.count("|") for line in HEAD.splitlines()} == {cells}
    refused = replace(planned.programs[0], too_much=TooMuch(20e9, 16e9, ""))
    assert row(planned, refused).count("|") == cells


def refused(
    experiment: Experiment, mesh: MeshConfig, state: int, needed: float = 20e9
) -> list[str]:
    """The advice for a train step whose optimizer takes `state` bytes."""
    program = Measured(
        name="train step",
        rows=experiment.train.global_batch,
        seconds_to_compile=1.0,
        memory={"parameters": 0, "optimizer": state, "batch": 1},
        flops=Flops(),
        too_much=TooMuch(20e9, 16e9, "the compiler's words"),
    )
    found = Plan(experiment, fake(), make_mesh(mesh), (program,))
    assert not found.fits
    assert "DOES NOT FIT" in report(found) and "the compiler's words" in report(found)
    assert "needs 18.6" in row(found, program)
    return advice(found, program)


def test_a_large_state_is_to_be_split_and_large_activations_are_not() -> None:
    experiment = adc("unused")
    experiment = replace(experiment, train=replace(experiment.train, global_batch=64))
    large = refused(experiment, MeshConfig(), 12 * 10**9)
    assert large[0].startswith("--mesh.fsdp 4:")  # 12 GB / 4 leaves three quarters free
    small = refused(experiment, MeshConfig(), 10**9)
    assert not any("fsdp" in line for line in small)
    assert any(line.startswith("--train.global_batch 32:") for line in small)
    split = refused(experiment, MeshConfig(fsdp=8), 12 * 10**9)
    assert not any("fsdp" in line for line in split)


def test_micro_batches_are_advised_only_where_they_add_up() -> None:
    coupled = adc("unused")
    coupled = replace(coupled, train=replace(coupled.train, global_batch=64))
    assert coupled.objective().couples_examples
    assert not any("accumulate" in line for line in refused(coupled, MeshConfig(), 0))


def test_what_the_compiler_refuses_is_understood() -> None:
    words = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (64.12G) exceeds available HBM (15.75G). HLO module: jit_f."
    )
    found = too_much(RuntimeError(words))
    assert found == TooMuch(64.12 * 2**30, 15.75 * 2**30, words)
    assert too_much(RuntimeError("INVALID_ARGUMENT: something else")) is None


def test_a_step_takes_the_longest_of_its_bounds_and_what_nothing_hides() -> None:
    chip = CHIPS["v3"]  # of which JAX sees two
    ideal = partial(roofline, chip, 4)
    compute = ideal(Flops(4 * chip.peak, 4 * chip.peak), 1.0, 0.0, 0.0)
    assert compute.seconds == pytest.approx(1.0)
    assert (compute.bound, compute.mfu) == ("compute", pytest.approx(1.0))
    memory = ideal(Flops(chip.peak, chip.peak), chip.hbm_bandwidth, 0.0, 0.0)
    assert (memory.bound, memory.seconds) == ("memory", pytest.approx(2.0))
    hidden: Any = ideal(Flops(4 * chip.peak, 4 * chip.peak), 1.0, chip.interconnect / 4, 0.0)
    shown = ideal(
        Flops(4 * chip.peak, 4 * chip.peak), 1.0, chip.interconnect / 4, chip.interconnect / 4
    )
    assert hidden.seconds == pytest.approx(1.0)
    assert shown.seconds == pytest.approx(1.5)
    passes = ideal(Flops(chip.peak, 6 * chip.peak), 1.0, 0.0, 0.0)
    assert passes.mfu == pytest.approx(1 / 6)
