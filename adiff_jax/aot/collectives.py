"""The collectives of a compiled program, read from its text: which, how often, how many bytes.

A compiled program is scheduled: its instructions stand in the order in which they run. A
collective that is one instruction holds the device up until it is done, and is exposed. One that is
a pair, `...-start` and `...-done`, runs beside whatever stands between the two; with no work there
it is exposed all the same. That work may take less time than the collective: what can overlap is a
bound from above. On a TPU a pair may be two fusions, `async-collective-start` and `-done`, and the
work between them fusions that carry the collective on: it stands in each of them, on one channel.

Bytes are counted twice: `payload` is the result of the collective on one device (of a
reduce-scatter, what it reduces), `moved` what a device sends in a ring of n, (n - 1) / n of the
payload, twice that for an all-reduce.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_FUSED_START = "async-collective-start"
_WORK = {"fusion", "convolution", "dot", "custom-call", "while", "sort", "scatter", "gather"}
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) .*\{$")
_SHAPE = re.compile(r"\b(pred|bf16|[sufc]\d+|f8\w+)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|body|condition|to_apply)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_CHANNEL = re.compile(r"\bchannel_id=(\d+)")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_BOUND = re.compile(r"%?([\w.-]+)\), direction=LT")
_CONSTANT = re.compile(r"(\d+)\)")


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    type: str
    operation: str
    rest: str  # operands and attributes


@dataclass(frozen=True)
class Collective:
    """One instruction and what all of its executions in a step amount to, on one device."""

    kind: str
    devices: int  # that take part in one group
    times: int
    payload: float
    exposed: bool

    @property
    def moved(self) -> float:
        """Bytes that a device sends."""
        share = (self.devices - 1) / self.devices
        match self.kind:
            case "all-reduce":
                return 2 * share * self.payload
            case "collective-permute" | "collective-broadcast":
                return self.payload
            case _:
                return share * self.payload


class Collectives(NamedTuple):
    """All of a program."""

    found: tuple[Collective, ...]
    unknown_loops: int  # loops with collectives in them whose turns nobody knows: counted once

    @property
    def moved(self) -> float:
        """Bytes that a device sends in a step."""
        return sum((one.moved for one in self.found), 0.0)

    @property
    def exposed(self) -> float:
        """Those of them that nothing can hide."""
        return sum((one.moved for one in self.found if one.exposed), 0.0)


def collectives(text: str, devices: int, turns: Sequence[int] = ()) -> Collectives:
    """Read a compiled program for `devices` devices (`Compiled.as_text()`).

    `turns` are those of its loops that the compiler does not know, in order.
    """
    computations, entry = _computations(text)
    reader = _Reader(computations, devices, list(turns))
    found = tuple(reader.read(entry, 1))
    return Collectives(found, reader.unknown)


def _computations(text: str) -> tuple[dict[str, list[Instruction]], str]:
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            current = computations.setdefault(match[2], [])
            entry = match[2] if match[1] else entry
        elif current is not None and (match := _INSTRUCTION.match(line)):
            current.append(Instruction(*match.groups()))
    if not entry:
        raise ValueError("this is no compiled program: it has no ENTRY")
    return computations, entry


class _Reader:
    """Walks the computations as they are executed."""

    def __init__(
        self, computations: dict[str, list[Instruction]], devices: int, turns: list[int]
    ) -> None:
        self._computations, self._devices, self._turns = computations, devices, turns
        self.unknown = 0

    def read(
        self, name: str, times: int, hidden: bool = False, begun: frozenset[str] = frozenset()
    ) -> Iterator[Collective]:
        """Collectives of a computation that is executed `times` times, but for those on channels
        that have `begun` where it is called."""
        instructions = self._computations.get(name, [])
        for place, one in enumerate(instructions):
            kind = one.operation.removesuffix("-start")
            if kind in KINDS:
                if not begun.isdisjoint(_CHANNEL.findall(one.rest)):
                    continue
                covered = hidden or _is_covered(instructions, place)
                yield self._collective(kind, one, times, not covered)
                continue
            here = times
            if one.operation == "while":
                found = list(self.read(_body(one), self._times(one), begun=begun))
                yield from (_again(collective, times) for collective in found)
                continue
            starts = one.operation == "async-start" or one.name.startswith(_FUSED_START)
            asynchronous = starts and _is_covered(instructions, place)
            for called in _called(one):
                yield from self.read(called, here, hidden or asynchronous, begun)
                if starts:
                    inner = self._computations.get(called, [])
                    begun |= {channel for i in inner for channel in _CHANNEL.findall(i.rest)}

    def _times(self, loop: Instruction) -> int:
        if match := _TURNS.search(loop.rest):
            return int(match[1])
        if (bound := self._bound(loop)) is not None:
            return bound
        if self._turns:
            return self._turns.pop(0)
        self.unknown += any(self.read(_body(loop), 1))
        return 1

    def _bound(self, loop: Instruction) -> int | None:
        """The constant that a loop counts to, from zero in steps of one, as scans are written and
        as XLA writes its own."""
        match = re.search(r"\bcondition=%?([\w.-]+)", loop.rest)
        condition = self._computations.get(match[1], []) if match else []
        if not condition or not (bound := _BOUND.search(condition[-1].rest)):
            return None
        constants = (one for one in condition if one.operation == "constant")
        for one in constants:
            if one.name == bound[1] and (number := _CONSTANT.match(one.rest)):
                return int(number[1])
        return None

    def _collective(self, kind: str, one: Instruction, times: int, exposed: bool) -> Collective:
        group = _group_size(one.rest, self._devices)
        payload = float(_payload(kind, one)) * times
        if kind == "reduce-scatter":
            payload *= group
        return Collective(kind, group, times, payload, exposed)


def _again(one: Collective, times: int) -> Collective:
    return Collective(one.kind, one.devices, one.times * times, one.payload * times, one.exposed)


def _body(loop: Instruction) -> str:
    match = re.search(r"\bbody=%?([\w.-]+)", loop.rest)
    if match is None:
        raise ValueError(f"the loop {loop.name} has no body")
    return match[1]


def _called(one: Instruction) -> list[str]:
    branches = [name for group in _BRANCHES.findall(one.rest) for name in group.split(",")]
    return [*_CALLED.findall(one.rest), *(name.strip().lstrip("%") for name in branches)]


def _until(instructions: list[Instruction], end: str) -> list[Instruction]:
    """Those before the one called `end`; none where there is no such."""
    places = [place for place, one in enumerate(instructions) if one.name == end]
    return instructions[: places[0]] if places else []


def _is_covered(instructions: list[Instruction], place: int) -> bool:
    """Whether the instruction at `place` is a start with work between it and its end."""
    start = instructions[place]
    if start.name.startswith(_FUSED_START):
        end = start.name.replace("-start", "-done")
        return any(one.operation in _WORK for one in _until(instructions[place + 1 :], end))
    if not start.operation.endswith("-start"):
        return False
    operand = re.compile(rf"%?{re.escape(start.name)}\b(?![\w.-])")
    working = False
    for one in instructions[place + 1 :]:
        if one.operation.endswith("-done") and operand.search(one.rest):
            return working
        working |= one.operation in _WORK
    return False


def _payload(kind: str, one: Instruction) -> int:
    """Bytes of the result on one device."""
    sizes = [_bytes(*shape) for shape in _SHAPE.findall(one.type)]
    if not one.operation.endswith("-start"):
        return sum(sizes)
    match kind:
        case "collective-permute":  # (operand, result, two flags)
            return sizes[1]
        case "all-gather" | "all-to-all" | "reduce-scatter":  # (operands, results)
            return sum(sizes[len(sizes) // 2 :])
        case _:
            return sum(sizes)


def _bytes(kind: str, shape: str) -> int:
    bits = 8 if kind == "pred" else int(re.sub(r"^[a-z]+(\d+).*", r"\1", kind))
    return prod(int(size) for size in shape.split(",") if size) * bits // 8


def _group_size(text: str, devices: int) -> int:
    """Devices of one replica group, in any of the three forms that XLA writes."""
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", match[1])}
        return prod(sizes[name] for name in re.findall(r"'(\w+)'", match[2]))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", text):
        return int(match[1])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return match[1].count(",") + 1
    return devices
