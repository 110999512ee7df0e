"""A plan in words and tables, as a row of a table, and as JSON."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from adiff_jax.aot.advice import advice
from adiff_jax.aot.collectives import Collectives
from adiff_jax.aot.plan import Measured, Plan
from adiff_jax.aot.roofline import Roofline
from adiff_jax.parallel.sharding import Placement

HEAD = (
    "| config | slice | chips | mesh | program | rows | a device holds | TFLOP a step "
    "| a device sends | exposed | least time, bound by | MFU at most | compiled in |\n"
    "|---|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)
"""Of a table with a row a program; "exposed" is the share of the least time."""


def report(plan: Plan) -> str:
    """Everything, for the terminal."""
    return "\n\n".join([heading(plan), *(section(plan, one) for one in plan.programs)])


def section(plan: Plan, program: Measured) -> str:
    """One program of it."""
    return "\n".join(_program(plan, program))


def heading(plan: Plan) -> str:
    """The slice, and the figures of its chips that are reckoned with."""
    return "\n".join(_heading(plan))


def _heading(plan: Plan) -> Iterator[str]:
    chip, devices = plan.slice.chip, len(plan.slice.devices)
    yield (
        f"{plan.experiment.name} on {_slice(plan)}; chips: {plan.slice.chips}, devices: {devices}, "
        f"mesh {_mesh(plan)}"
    )
    yield (
        f"a {chip.name} chip ({chip.devices} device{'s' * (chip.devices > 1)} of JAX): "
        f"{_gib(chip.hbm_bytes)} of memory, {chip.hbm_bandwidth / 1e9:.0f} GB/s; "
        f"{chip.peak * chip.devices / 1e12:.0f} TFLOP/s bf16; sends {chip.interconnect / 1e9:.0f} "
        "GB/s over all links"
    )
    if plan.quick:
        yield (
            "compiled with --quick: the compiler's own figures are those of a program that it "
            "has optimised less than one that trains"
        )
    if plan.slice.count > 1:
        yield (
            "collectives between slices use the network of the data centre, for which no figure is "
            "known here: the interconnect's bound is too low"
        )


def _program(plan: Plan, program: Measured) -> Iterator[str]:
    took = f"compiled in {program.seconds_to_compile:.0f} s"
    total = sum(program.memory.values())
    if program.too_much is None:
        share = total / (plan.slice.chip.hbm_bytes / plan.slice.chip.devices)
        yield (
            f"{program.name}, {program.rows} rows: fits; {_gib(total)} a device, "
            f"{share:.0%} of its memory ({took})"
        )
    else:
        yield (
            f"{program.name}, {program.rows} rows: DOES NOT FIT; it needs "
            f"{_gib(program.too_much.needed)} a device, of which there are "
            f"{_gib(program.too_much.available)} ({took})"
        )
    for kind, size in program.memory.items():
        yield f"  {kind:<12} {_gib(size):>12}"
    if program.activations is not None:
        yield (
            f"  the forward pass keeps about {_gib(program.activations)} for the backward one as "
            "traced; the compiler keeps less where it fuses, among the temporaries"
        )
    theirs = ""
    if program.compiler_flops is not None:
        per_step = program.compiler_flops * len(plan.slice.devices)
        theirs = f"; the compiler counts {per_step / 1e12:.3g} (bodies of loops once)"
    yield (
        f"  products {program.flops.count / 1e12:.3g} TFLOP a step on all devices, "
        f"{program.flops.passes / 1e12:.3g} as passes over bf16{theirs}"
    )
    if program.too_much is not None:
        yield "  change one of:"
        yield from (f"    {line}" for line in advice(plan, program))
        yield "  the compiler says:"
        yield from (f"    {line}" for line in program.too_much.details.splitlines())
        return
    yield from _talk(program.collectives)
    if program.roofline is not None:
        yield from _bounds(program, program.roofline)


def _talk(talk: Collectives | None) -> Iterator[str]:
    if talk is None:
        yield "  collectives: libtpu does not write the program of this chip down; taken as none"
        return
    groups: Counter[tuple[str, int, bool]] = Counter()
    payload: Counter[tuple[str, int, bool]] = Counter()
    moved: Counter[tuple[str, int, bool]] = Counter()
    for one in talk.found:
        key = one.kind, one.devices, one.exposed
        groups[key] += one.times
        payload[key] += round(one.payload)
        moved[key] += round(one.moved)
    if not groups:
        yield "  collectives: none"
    for (kind, devices, exposed), times in groups.items():
        key = kind, devices, exposed
        yield (
            f"  {times} x {kind} over {devices}, {'exposed' if exposed else 'can overlap'}: "
            f"{_mib(payload[key])}, {_mib(moved[key])} sent by a device"
        )
    if talk.unknown_loops:
        yield f"  {talk.unknown_loops} loops of unknown length have collectives, counted once"


def _bounds(program: Measured, roof: Roofline) -> Iterator[str]:
    accessed = program.bytes_accessed or 0.0
    intensity = f"{roof.flops / accessed:.0f} FLOP a byte" if accessed else "nothing read"
    yield (
        f"  a step takes at least {_ms(roof.seconds)}, bound by {roof.bound}: compute "
        f"{_ms(roof.compute)}, memory {_ms(roof.memory)} ({_gib(accessed)}, {intensity}), "
        f"interconnect {_ms(roof.interconnect)}, of which exposed {_ms(roof.exposed)}"
    )
    yield (
        f"  MFU at most {roof.mfu:.1%}; {program.rows / roof.seconds:,.0f} rows a second at most"
    )


def row(plan: Plan, program: Measured) -> str:
    """One line of the table under `HEAD`."""
    chips, chip = plan.slice.chips, plan.slice.chip
    cells = [plan.experiment.name, _slice(plan), str(chips), _mesh(plan), program.name]
    cells.append(f"{program.rows:,}")
    roof, talk, count = program.roofline, program.collectives, program.flops.count / 1e12
    flops = f"{count:,.0f}" if count >= 100 else f"{count:.3g}"
    if program.too_much is not None or roof is None:
        needed = program.too_much.needed if program.too_much else 0.0
        cells += [f"needs {needed / 2**30:.1f} GiB", flops, *"–––––"]
    else:
        held = sum(program.memory.values()) / 2**30
        there = chip.hbm_bytes / chip.devices / 2**30
        cells += [
            f"{held:.2f} of {there:.0f} GiB",
            flops,
            "not known" if talk is None else f"{talk.moved / 2**20:,.0f} MiB",
            "–" if talk is None else f"{roof.exposed / roof.seconds:.0%}",
            f"{_ms(roof.seconds)}{' + sending' if talk is None else ''}, {roof.bound}",
            f"{roof.mfu:.0%}",
            f"{program.seconds_to_compile:.0f} s",
        ]
    return f"| {' | '.join(cells)} |"


def as_json(plan: Plan) -> dict[str, Any]:
    """The same for programs; bytes, seconds, operations."""
    return {
        "experiment": plan.experiment.name,
        "topology": plan.slice.name,
        "slices": plan.slice.count,
        "chips": plan.slice.chips,
        "quick": plan.quick,
        "mesh": dict(plan.mesh.shape),
        "fits": plan.fits,
        "programs": [_json(program) for program in plan.programs],
    }


def _json(program: Measured) -> dict[str, Any]:
    talk, roof, refused = program.collectives, program.roofline, program.too_much
    return {
        "name": program.name,
        "rows": program.rows,
        "seconds_to_compile": program.seconds_to_compile,
        "memory": dict(program.memory),
        "activations": program.activations,
        "flops": program.flops.count,
        "passes": program.flops.passes,
        "compiler_flops": program.compiler_flops,
        "bytes_accessed": program.bytes_accessed,
        "too_much": None if refused is None else refused._asdict(),
        "collectives": None
        if talk is None
        else [{**vars(one), "moved": one.moved} for one in talk.found],
        "unknown_loops": 0 if talk is None else talk.unknown_loops,
        "roofline": None
        if roof is None
        else {**vars(roof), "seconds": roof.seconds, "bound": roof.bound, "mfu": roof.mfu},
    }


def rules_report(placements: list[tuple[Placement, int]], mesh: str) -> str:
    """Every leaf with its shape, placement and bytes in whole, the copied ones apart."""
    lines = [f"mesh {mesh}; bytes are those of the whole leaf"]
    for title, split in (("split", True), ("a whole copy on every device", False)):
        found = [one for one in placements if any(one[0].spec) == split]
        lines.append(f"\n{title}: {len(found)} leaves, {_mib(sum(size for _, size in found))}")
        for (path, shape, spec), size in found:
            axes = ", ".join("-" if axis is None else str(axis) for axis in spec)
            lines.append(f"  {_mib(size):>12}  {str(shape):<22} ({axes})  {path}")
    return "\n".join(lines)


def _slice(plan: Plan) -> str:
    return plan.slice.name if plan.slice.count == 1 else f"{plan.slice.count} x {plan.slice.name}"


def _mesh(plan: Plan) -> str:
    return " x ".join(str(size) for size in plan.mesh.shape.values())


def _gib(size: int | float) -> str:
    return f"{size / 2**30:.2f} GiB" if abs(size) >= 2**30 else _mib(size)


def _mib(size: int | float) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
