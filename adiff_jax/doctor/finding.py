"""What the doctor says of one thing: all is well, beware, or this will not do."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Verdict(enum.Enum):
    """How bad, from good to bad."""

    OK = "ok"
    WARN = "warn"  # it goes, but slower or to less use than it could
    FAIL = "fail"  # training, or what was asked for, does not go


_BY_BADNESS = tuple(Verdict)
_SHOWN = 8


@dataclass(frozen=True)
class Finding:
    """One line of the report. What is not well has a `way_out`."""

    name: str
    verdict: Verdict
    text: str
    way_out: str = ""

    def __post_init__(self) -> None:
        if (self.verdict is Verdict.OK) == bool(self.way_out):
            raise ValueError(f"{self.name}: what is not well, and only that, has a way out")

    def __str__(self) -> str:
        """The line as it is printed; the way out stands on one of its own."""
        line = f"{self.verdict.value:<5} {self.name:<14} {self.text}"
        return f"{line}\n{'':21}-> {self.way_out}" if self.way_out else line


def well(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(name, Verdict.OK, text)


def beware(name: str, text: str, way_out: str) -> Finding:
    """It goes, but not as it should."""
    return Finding(name, Verdict.WARN, text, way_out)


def broken(name: str, text: str, way_out: str) -> Finding:
    """It does not go."""
    return Finding(name, Verdict.FAIL, text, way_out)


def merged(findings: Sequence[Finding]) -> Finding:
    """What all processes found about one thing, in the order of the processes, as one line.

    The worst verdict counts; processes that came to it are named where not all say the same. Where
    all is well, process 0 speaks for all.
    """
    worst = max((finding.verdict for finding in findings), key=_BY_BADNESS.index)
    if worst is Verdict.OK:
        return findings[0]
    said: dict[str, list[int]] = {}
    for process, finding in enumerate(findings):
        if finding.verdict is worst:
            said.setdefault(finding.text, []).append(process)
    if [len(findings)] == [len(processes) for processes in said.values()]:
        return findings[0]
    ways = dict.fromkeys(finding.way_out for finding in findings if finding.verdict is worst)
    texts = (f"{_named(processes)}: {text}" for text, processes in said.items())
    return Finding(findings[0].name, worst, "; ".join(texts), "; ".join(ways))


def _named(processes: Sequence[int]) -> str:
    more = ", ..." if len(processes) > _SHOWN else ""
    shown = ", ".join(map(str, processes[:_SHOWN])) + more
    return f"process{'es' if len(processes) > 1 else ''} {shown}"
