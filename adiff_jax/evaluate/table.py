"""Scores of several systems as one Markdown table that says what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ROWS = (
    "structured.operation.accuracy",
    "structured.event.accuracy",
    "structured.program.exact",
    "structured.edits.f1",
    "structured.none.false_alarm",
    "structured.sentences.distinct",
    "captions.bleu_4",
    "captions.rouge_l",
    "captions.meteor",
    "captions.cider_d",
    "captions.spice",
    "captions.spider",
)
"""Dotted names of the scores that a table shows unless told otherwise."""

ABSENT = "n/a"


def markdown_table(systems: Mapping[str, Mapping[str, Any]], rows: Sequence[str] = ROWS) -> str:
    """One row for each score, one column for each system and its baselines, padded so that it also
    reads well in a terminal. Intervals are in brackets, fractions in percent.

    Args:
        systems: by name, what `scoring.score` returned (or `metrics.json` holds).
        rows: dotted names of scores.

    A score that a system lacks reads "n/a", and the reason stands below the table.
    """
    columns = list(_with_baselines(systems))
    cells = [["score", *(system for system, _ in columns)]]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        cells.append([row.removeprefix("structured.").removeprefix("captions.")])
        for system, scores in columns:
            cell = _cell(scores, row)
            if cell is None:
                reasons.setdefault(f"{row}: {_reason(scores, row)}", []).append(system)
            cells[-1].append(cell or ABSENT)
    lines = _padded(cells)
    notes = [f"- {reason} ({', '.join(who)})" for reason, who in reasons.items()]
    if notes:
        lines += ["", f"Missing ({ABSENT}):", "", *notes]
    tokenizations = {scores["tokenization"] for _, scores in columns if "tokenization" in scores}
    if tokenizations:
        lines += ["", f"Caption metrics on tokens of: {', '.join(sorted(tokenizations))}."]
    return "\n".join(lines) + "\n"


def _with_baselines(
    systems: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for system, scores in systems.items():
        yield system, scores
        for baseline, other in scores.get("baselines", {}).items():
            yield f"{system}: {baseline}", other


def _cell(scores: Mapping[str, Any], row: str) -> str | None:
    value: Any = scores
    for key in row.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    if isinstance(value, int):
        return str(value)
    ends = scores.get("intervals", {}).get(row)
    if ends is None:
        return _number(value, row)
    return f"{_number(value, row)} [{_number(ends[0], row)}, {_number(ends[1], row)}]"


def _number(value: float, row: str) -> str:
    # CIDEr-D runs from 0 to 10, and SPIDEr is half of it: not fractions, so not in percent.
    return f"{value:.3f}" if row.endswith(("cider_d", "spider")) else f"{100 * value:.1f}"


def _reason(scores: Mapping[str, Any], row: str) -> str:
    missing = scores.get("missing", {})
    parts = row.split(".")
    for length in range(len(parts), 0, -1):
        reason = missing.get(".".join(parts[:length]))
        if reason is not None:
            return reason
    return "not computed"


def _padded(cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table whose first row is the header."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    padded = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in cells]
    padded.insert(1, ["-" * width for width in widths])
    return ["| " + " | ".join(row) + " |" for row in padded]
