"""Scores of several systems as one Markdown table that says what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adiff_jax.data.schema import Coverage
from adiff_jax.evaluate.intervals import Interval
from adiff_jax.evaluate.similarity import QUARTILES

ROWS = (
    "structured.operation.accuracy",
    "structured.event.accuracy",
    "structured.program.exact",
    "structured.edits.f1",
    "structured.none.false_alarm",
    "structured.unreadable.share",
    "structured.sentences.distinct",
    "captions.bleu_4",
    "captions.rouge_l",
    "captions.meteor",
    "captions.cider_d",
    "captions.spice",
    "captions.spider",
)
"""Dotted names of the scores that a table shows unless told otherwise."""

EXPLANATIONS = (
    "explanations.events.f1",
    "explanations.clip_events.f1",
    "explanations.attribution.right_clip",
    "explanations.hallucination.share",
    "explanations.omission.share",
    "explanations.attributes.f1",
    "explanations.overall.f1",
    "explanations.unreadable.change",
    "explanations.unreadable.sounds",
)
"""Shown as well where a system has them: scores of explanations, of tier 1 to 3."""

SOUNDS = (
    "sounds.events.f1",
    "sounds.events.precision",
    "sounds.events.recall",
    "sounds.background.accuracy",
    "sounds.unreadable.sounds",
)
"""Shown as well where a system has them: scores of captions of single clips."""

BY_TIER = (*EXPLANATIONS[:6], "captions.bleu_4", "captions.cider_d")
"""Ends of the names of scores that are shown for every tier by itself, after "tiers.1."."""

BY_SIMILARITY = ("events.f1", "attributes.f1")
"""Ends of the names of scores that are shown for every quartile of the similarity of the clips."""

OF_MODELS = (
    "structured.swap.consistent",
    "attention.edited_span",
    "unsupported.precision",
    "unsupported.recall",
)
"""Shown as well where a system has them: they need the model itself, not only its answers."""

NOT_SHARES = ("cider_d", "spider", "edited_span")
"""Ends of the names of scores that may exceed 1, so that they are not in percent."""

ABSENT = "n/a"


def markdown_table(systems: Mapping[str, Mapping[str, Any]], rows: Sequence[str] = ROWS) -> str:
    """One row for each score, one column for each system and its baselines, padded so that it also
    reads well in a terminal. Intervals are in brackets, fractions in percent.

    Args:
        systems: by name, what `scoring.score` returned (or `metrics.json` holds).
        rows: dotted names of scores.

    A score that a system lacks reads "n/a", and the reason stands below the table, as it does for
    missing intervals and baselines, how many training pairs the baselines know, and how much of a
    published split was there to be scored.
    """
    columns = list(_with_baselines(systems))
    rows = [*rows, *(row for row in _further(columns) if row not in rows)]
    if all("sounds" in scores for _, scores in columns):  # no program is asked of single clips
        rows = [row for row in rows if not row.startswith("structured.")]
    cells = [["score", *(system for system, _ in columns)]]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        cells.append([_title(row)])
        for system, scores in columns:
            cell = _cell(scores, row)
            if cell is None:
                reasons.setdefault(f"{row}: {_reason(scores, row)}", []).append(system)
            cells[-1].append(cell or ABSENT)
    for system, scores in columns:
        for note in _without(scores, rows):
            reasons.setdefault(note, []).append(system)
    lines = _padded(cells)
    notes = [f"- {reason} ({', '.join(who)})" for reason, who in reasons.items()]
    if notes:
        lines += ["", f"Missing ({ABSENT}):", "", *notes]
    tokenizations = {scores["tokenization"] for _, scores in columns if "tokenization" in scores}
    if tokenizations:
        lines += ["", f"Caption metrics on tokens of: {', '.join(sorted(tokenizations))}."]
    known = {own["retrieval_examples"] for _, own in columns if "retrieval_examples" in own}
    if known:
        counts = " or ".join(map(str, sorted(known)))
        lines += ["", f"Baselines know the first {counts} training pairs."]
    for coverage, who in _coverages(systems).items():
        lines += ["", f"Coverage: {coverage} ({', '.join(who)})."]
    return "\n".join(lines) + "\n"


def difference_table(
    first: Mapping[str, Any], second: Mapping[str, Any], differences: Mapping[str, Interval]
) -> str:
    """One row for each score that two systems have: both values, first - second, its interval.

    Args:
        first: what `scoring.measure` gave of one system.
        second: of the other, on the same pairs.
        differences: by dotted name of the score, where they can be told.
    """
    columns = [("first", first), ("second", second)]
    rows = [
        row for row in (*ROWS, *_further(columns)) if all(_cell(own, row) for _, own in columns)
    ]
    cells = [["score", "first", "second", "difference", "interval"]]
    for row in rows:
        cells.append([_title(row), *(str(_cell(own, row)) for _, own in columns)])
        if found := differences.get(row):
            low, high = (_number(end, row, "+") for end in (found.low, found.high))
            cells[-1] += [_number(found.mean, row, "+"), f"{low} to {high}"]
        else:
            cells[-1] += [ABSENT, ABSENT]
    lines = _padded(cells)
    if differences and any(row not in differences for row in rows):
        lines += [
            "",
            f"{ABSENT}: scores of the whole set, or whose denominator depends on what is said",
        ]
    return "\n".join(lines) + "\n"


def _further(columns: "Columns") -> list[str]:
    """Scores that are shown where any of the systems has them."""
    further = [*EXPLANATIONS, *SOUNDS, *_tier_rows(columns), *_similarity_rows(columns), *OF_MODELS]
    return [row for row in further if any(_cell(own, row) for _, own in columns)]


def _coverages(systems: Mapping[str, Mapping[str, Any]]) -> dict[Coverage, list[str]]:
    """Systems by how much of a published split they were scored on, where that is known."""
    found: dict[Coverage, list[str]] = {}
    for system, scores in systems.items():
        if "coverage" in scores:
            found.setdefault(Coverage(**scores["coverage"]), []).append(system)
    return found


def _with_baselines(
    systems: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for system, scores in systems.items():
        yield system, scores
        for baseline, other in scores.get("baselines", {}).items():
            yield f"{system}: {baseline}", other


Columns = Sequence[tuple[str, Mapping[str, Any]]]


def _tier_rows(columns: Columns) -> list[str]:
    tiers = sorted({tier for _, scores in columns for tier in scores.get("tiers", {})})
    return [f"tiers.{tier}.{row}" for tier in tiers for row in BY_TIER]


def _similarity_rows(columns: Columns) -> list[str]:
    """Of every tier, and of all where there are no tiers, a score's quartiles side by side."""
    tiers = sorted({tier for _, scores in columns for tier in scores.get("tiers", {})})
    groups = [f"tiers.{tier}." for tier in tiers] or [""]
    return [
        f"similarity.{quartile}.{group}explanations.{end}"
        for group in groups
        for end in BY_SIMILARITY
        for quartile in QUARTILES
    ]


def _title(row: str) -> str:
    """ "tier 1, similarity 2/4: events.f1" of "similarity.2.tiers.1.explanations.events.f1"."""
    parts = row.split(".")
    where = ""
    if parts[0] == "similarity":
        where, parts = f"similarity {parts[1]}/{len(QUARTILES)}", parts[2:]
    if parts[0] == "tiers":
        where, parts = ", ".join(filter(None, (f"tier {parts[1]}", where))), parts[2:]
    if parts[0] in ("structured", "captions", "explanations", "sounds"):
        parts = parts[1:]
    return f"{where}: {'.'.join(parts)}" if where else ".".join(parts)


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


def _without(scores: Mapping[str, Any], rows: Sequence[str]) -> Iterator[str]:
    """Notes on what is missing but is no row: baselines, and intervals of the rows."""
    missing = scores.get("missing", {})
    if "baselines" in missing:
        yield f"baselines: {missing['baselines']}"
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        if reason := missing.get(f"intervals.{row}"):
            by_reason.setdefault(reason, []).append(row)
    for reason, of in by_reason.items():
        yield f"intervals of {', '.join(of)}: {reason}"


def _number(value: float, row: str, sign: str = "") -> str:
    share = not row.endswith(NOT_SHARES)
    return f"{100 * value:{sign}.1f}" if share else f"{value:{sign}.3f}"


def _reason(scores: Mapping[str, Any], row: str) -> str:
    missing = scores.get("missing", {})
    parts = row.split(".")
    for length in range(len(parts), 0, -1):
        reason = missing.get(".".join(parts[:length]))
        if reason is not None:
            return reason
    return "needs the model" if row in OF_MODELS else "not computed"


def _padded(cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table whose first row is the header."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    padded = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in cells]
    padded.insert(1, ["-" * width for width in widths])
    return ["| " + " | ".join(row) + " |" for row in padded]
