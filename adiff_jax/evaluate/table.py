"""Scores of several systems as one Markdown table that says what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

COLUMNS = (
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


def markdown_table(
    systems: Mapping[str, Mapping[str, Any]], columns: Sequence[str] = COLUMNS
) -> str:
    """One row for each system and its baselines, intervals in brackets, fractions in percent.

    Args:
        systems: by name, what `scoring.score` returned (or `metrics.json` holds).
        columns: dotted names of scores.

    A score that a system lacks reads "n/a", and the reason stands below the table.
    """
    names = [name.removeprefix("structured.").removeprefix("captions.") for name in columns]
    lines = [_line(["system", *names]), _line(["---"] * (len(columns) + 1))]
    reasons: dict[str, list[str]] = {}
    tokenizations = set()
    for system, scores in _with_baselines(systems):
        cells = []
        for column in columns:
            cell = _cell(scores, column)
            if cell is None:
                reasons.setdefault(f"{column}: {_reason(scores, column)}", []).append(system)
            cells.append(cell or ABSENT)
        lines.append(_line([system, *cells]))
        if "tokenization" in scores:
            tokenizations.add(scores["tokenization"])
    notes = [f"- {reason} ({', '.join(who)})" for reason, who in reasons.items()]
    if notes:
        lines += ["", f"Missing ({ABSENT}):", "", *notes]
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


def _cell(scores: Mapping[str, Any], column: str) -> str | None:
    value: Any = scores
    for key in column.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    if isinstance(value, int):
        return str(value)
    ends = scores.get("intervals", {}).get(column)
    if ends is None:
        return _number(value, column)
    return f"{_number(value, column)} [{_number(ends[0], column)}, {_number(ends[1], column)}]"


def _number(value: float, column: str) -> str:
    # CIDEr-D runs from 0 to 10, and SPIDEr is half of it: not fractions, so not in percent.
    return f"{value:.3f}" if column.endswith(("cider_d", "spider")) else f"{100 * value:.1f}"


def _reason(scores: Mapping[str, Any], column: str) -> str:
    missing = scores.get("missing", {})
    parts = column.split(".")
    for length in range(len(parts), 0, -1):
        reason = missing.get(".".join(parts[:length]))
        if reason is not None:
            return reason
    return "not computed"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
