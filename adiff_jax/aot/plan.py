"""`plan`: an experiment compiled for a slice, and everything that can be read of its programs."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
from jax.sharding import Mesh

from adiff_jax.aot.activations import activations
from adiff_jax.aot.collectives import Collectives, collectives
from adiff_jax.aot.memory import TooMuch, bytes_by_kind, memory, too_much
from adiff_jax.aot.programs import Program, decode_step, train_step
from adiff_jax.aot.roofline import Roofline, roofline
from adiff_jax.aot.topology import Slice
from adiff_jax.aot.traffic import later_turns
from adiff_jax.experiment import Experiment
from adiff_jax.objectives import Captioning
from adiff_jax.parallel.mesh import batch_shards, make_mesh
from adiff_jax.train.flops import Flops, count


@dataclass(frozen=True)
class Measured:
    """One program on one device of the slice, unless said otherwise.

    `too_much` is what the compiler refused; then `memory` has the arguments only, and what needs
    a compiled program is None. `activations` are those of a train step, as traced: the compiler
    keeps fewer where it fuses, among the temporaries.
    """

    name: str
    rows: int
    seconds_to_compile: float
    memory: Mapping[str, int]
    flops: Flops  # of all devices, by our count
    too_much: TooMuch | None = None
    compiler_flops: float | None = None
    bytes_accessed: float | None = None
    collectives: Collectives | None = None
    roofline: Roofline | None = None
    activations: int | None = None


@dataclass(frozen=True)
class Plan:
    """An experiment on a slice."""

    experiment: Experiment
    slice: Slice
    mesh: Mesh
    programs: tuple[Measured, ...] = ()
    quick: bool = False  # compiled with less effort

    @property
    def fits(self) -> bool:
        """Whether every program does."""
        return all(program.too_much is None for program in self.programs)


def plan(
    experiment: Experiment,
    slice: Slice,
    say: Callable[[str], Any],
    each: Callable[[Plan], Any] = lambda plan: None,
    quick: bool = False,
    only: Literal["train", "decode"] | None = None,
) -> Plan:
    """Compile the train step and the decode step for a slice, or `only` one of them, and read what
    there is to be read.

    `say` hears of each compilation, `each` gets the plan so far after each program, as the next one
    may take long. `quick` has the compiler optimise less than it does for a training. Raises
    ValueError when the mesh does not fit the slice or a batch.
    """
    if only == "decode" and not isinstance(experiment.objective(), Captioning):
        raise ValueError(f"{experiment.name} says no sentences: it has no decode step")
    found = Plan(experiment, slice, make_mesh(experiment.mesh, slice.devices), quick=quick)
    makers = {"train": train_step, "decode": decode_step}
    for make in makers.values() if only is None else (makers[only],):
        program = make(experiment, found.mesh)
        if program is not None:
            say(f"compiling the {program.name} for {slice.name} (minutes)...")
            with _effort(quick):
                measured = _measure(program, slice, found.mesh)
            if make is train_step:
                kept = activations(experiment, found.mesh)
                measured = replace(measured, activations=kept)
            found = replace(found, programs=(*found.programs, measured))
            each(found)
    return found


@contextmanager
def _effort(quick: bool) -> Iterator[None]:
    """The compiler's optimisation level, O1 where it is to be `quick`."""
    before = jax.config.values["jax_optimization_level"]
    jax.config.update("jax_optimization_level", "O1" if quick else before)
    try:
        yield
    finally:
        jax.config.update("jax_optimization_level", before)


def _measure(program: Program, slice: Slice, mesh: Mesh) -> Measured:
    flops = count(program.traced.jaxpr, program.turns)
    lowered, began = program.traced.lower(), time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        refused = too_much(error)
        if refused is None:
            raise
        took = time.perf_counter() - began
        held = bytes_by_kind(program.given)
        return Measured(program.name, program.rows, took, held, flops, too_much=refused)
    took = time.perf_counter() - began
    costs: Any = compiled.cost_analysis() or {}
    devices = len(slice.devices)
    talk = _collectives(compiled, devices, program)
    accessed = costs.get("bytes accessed", 0.0) + later_turns(
        program.traced.jaxpr,
        program.turns,
        program.rows,
        batch_shards(mesh),
        {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(program.given["batch"])},
    )
    moved, exposed = (0.0, 0.0) if talk is None else (talk.moved, talk.exposed)
    return Measured(
        name=program.name,
        rows=program.rows,
        seconds_to_compile=took,
        memory=memory(compiled, program.given),
        flops=flops,
        compiler_flops=costs.get("flops"),
        bytes_accessed=accessed,
        collectives=talk,
        roofline=roofline(slice.chip, devices, flops, accessed, moved, exposed),
    )


def _collectives(
    compiled: jax.stages.Compiled, devices: int, program: Program
) -> Collectives | None:
    """None where libtpu cannot write the program down, which it may refuse for a chip."""
    try:
        text = compiled.as_text()
    except jax.errors.JaxRuntimeError:
        return None
    return None if text is None else collectives(text, devices, program.turns)
