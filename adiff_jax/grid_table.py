"""The table of a grid: a row for each cell, paired intervals against the first, and the power."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath

from adiff_jax.ablate import Grid, answers_of, attention_of, known_truths
from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.captions import CaptionConfig
from adiff_jax.evaluate.difference import compare, detectable
from adiff_jax.evaluate.intervals import Interval, TooFewRecordings
from adiff_jax.evaluate.measuring import Scored
from adiff_jax.evaluate.predictions import read_predictions
from adiff_jax.evaluate.scoring import ScoreConfig, measure
from adiff_jax.validate import readers_of

METRICS = (
    "structured.operation.accuracy",
    "structured.event.accuracy",
    "structured.program.exact",
    "explanations.events.f1",
    "explanations.attributes.f1",
    "sounds.events.f1",
    "sounds.background.accuracy",
)

_CONFIG = ScoreConfig(captions=CaptionConfig(metrics=()))


def collect(grid: Grid, workdir: epath.PathLike) -> str:
    """The Markdown table of the runs that are finished, differences against the first row.

    Below it, what the first two rows say of the grid's power: the difference that all its seeds
    would find, roughly. Known after two seeds of each, before the grid is complete. It also says
    why differences are missing, and what the intervals leave out. Raises as `run_cells`.
    """
    truths = known_truths(grid)
    scored: dict[str, list[Scored]] = {}
    looks: dict[str, list[float]] = {}
    for cell, seed in grid.runs():
        file = answers_of(grid, workdir, cell, seed)
        if file.exists():
            found = measure(read_predictions(file), truths, _CONFIG, readers=readers_of(truths))
            scored.setdefault(cell.name, []).append(found)
            if attention_of(file).exists():
                looked = json.loads(attention_of(file).read_text())["attention"]["edited_span"]
                looks.setdefault(cell.name, []).append(looked)
    every = [result for results in scored.values() for result in results]
    # A metric that applies to no example of the split has no column.
    metrics = [metric for metric in METRICS if all(metric in one.measures for one in every)]
    names = [name.split(".", 1)[1] for name in metrics]
    rows = [
        f"{grid.name}, split {grid.split}; difference to the first row with its paired interval, "
        "clustered by recording, over seeds",
        "",
        "| cell | seeds | " + " | ".join([*names, *["attention on the edit"] * bool(looks)]) + " |",
        "|---" * (len(names) + 2 + bool(looks)) + "|",
    ]
    first = scored.get(grid.cells[0].name)
    without_intervals = "" if first else f"the first row, {grid.cells[0].name}, has not run"
    compared: list[str] = []
    for cell in grid.cells:
        results = scored.get(cell.name, [])
        cells = [_mean(results, metric) for metric in metrics]
        if results and first and results is not first:
            try:
                differences = compare(results, first, truths, _CONFIG)
            except TooFewRecordings as error:
                without_intervals = str(error)
            else:
                compared.append(cell.name)
                cells = [
                    f"{text} ({_signed(differences[metric])})"
                    for text, metric in zip(cells, metrics, strict=True)
                ]
        if looks:
            cells.append(_spread(looks.get(cell.name, []), 2))
        rows.append(f"| {cell.name} | {len(results)}/{grid.seeds} | " + " | ".join(cells) + " |")
    if without_intervals:
        rows += ["", f"no differences: {without_intervals}"]
    else:
        rows += _one_seed([grid.cells[0].name, *compared] if compared else [], scored)
        rows += _power(grid, scored, truths, metrics)
    return "\n".join(rows)


def _one_seed(compared: Sequence[str], scored: Mapping[str, list[Scored]]) -> list[str]:
    """What the intervals leave out where a row has run once."""
    once = [name for name in compared if len(scored[name]) == 1]
    if not once:
        return []
    return [
        "",
        f"one seed: {', '.join(once)}; how much another training of it would differ is not in the "
        "intervals, which are too narrow for that",
    ]


def _power(
    grid: Grid,
    scored: Mapping[str, list[Scored]],
    truths: Sequence[Truth],
    metrics: Sequence[str],
) -> list[str]:
    """One line on the smallest difference that the whole grid finds, once there is a pilot."""
    pilot = [scored.get(cell.name, []) for cell in grid.cells[:2]]
    if len(pilot) < 2 or min(map(len, pilot)) < 2:
        return []
    found = detectable(pilot[0], pilot[1], truths, _CONFIG, grid.seeds)
    sizes = ", ".join(f"{m.split('.', 1)[1]} {100 * found[m]:.1f}" for m in metrics)
    seeds = " and ".join(str(len(runs)) for runs in pilot)
    return [
        "",
        f"smallest difference that {grid.seeds} seeds a row find (two-sided 5 %, power 80 %; "
        f"rough, as it is judged from {seeds} runs of the first two rows): {sizes}",
    ]


def _mean(results: Sequence[Scored], metric: str) -> str:
    measures = [result.measures[metric] for result in results]
    return _spread([100 * m.values.sum() / m.counts.sum() for m in measures], 1)


def _spread(values: Sequence[float], decimals: int) -> str:
    """Mean over seeds ± their standard deviation."""
    if not values:
        return "not run"
    spread = f" ± {np.std(values, ddof=1):.{decimals}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{decimals}f}{spread}"


def _signed(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f}, {100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
