"""`adiff ablate`: a grid of experiments on the same data, one table with paired intervals.

A grid file defines `get_grid() -> Grid`. Every cell is one experiment and one seed with its own
run directory, so a grid can be interrupted, continued, and spread over an array job. With
`features_from`, the pairs are encoded once by a trained run's frozen encoder and all cells train
on the cached features: seeds become cheap, and what differs between cells is what is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from etils import epath

from adiff_jax import run
from adiff_jax.answer import sentences, truths_of
from adiff_jax.cache import cached
from adiff_jax.evaluate.captions import CaptionConfig
from adiff_jax.evaluate.difference import compare
from adiff_jax.evaluate.intervals import Interval, TooFewRecordings
from adiff_jax.evaluate.predictions import read_predictions, write_predictions
from adiff_jax.evaluate.scoring import ScoreConfig, Scored, measure
from adiff_jax.experiment import ConfigError, Experiment, Split, load_attribute
from adiff_jax.models.adc import Adc
from adiff_jax.parts import open_data
from adiff_jax.validate import edit_reader

METRICS = (
    "structured.operation.accuracy",
    "structured.event.accuracy",
    "structured.program.exact",
)


@dataclass(frozen=True)
class Cell:
    """One row of the table: a named experiment, run once for each seed."""

    name: str
    experiment: Experiment


@dataclass(frozen=True)
class Grid:
    """Cells in the order of the table; every other row is compared with the first.

    `features_from` is a tagger's run directory ("" trains on audio). `split` is the test split.
    """

    name: str
    cells: tuple[Cell, ...]
    seeds: int = 3
    split: str = "single"
    features_from: str = ""

    def runs(self) -> list[tuple[Cell, int]]:
        """Every (cell, seed), seeds outermost, so that a part of the grid is a fair part."""
        return [(cell, seed) for seed in range(self.seeds) for cell in self.cells]


def load_grid(path: str) -> Grid:
    """The `get_grid()` of a file. Raises ConfigError that names what is wrong with it."""
    grid = load_attribute(path, "get_grid")()
    if not isinstance(grid, Grid) or not grid.cells:
        raise ConfigError(f"get_grid() of {path} must return a Grid with at least one cell")
    return grid


def share(count: int, cell: str | None) -> list[int]:
    """Indices of the runs that "i/N" means; all without it. Raises ConfigError for other text."""
    if cell is None:
        return list(range(count))
    part, _, parts = cell.partition("/")
    if not (part.isdigit() and parts.isdigit() and int(part) < int(parts)):
        raise ConfigError(f"--cell {cell!r} must be i/N with 0 <= i < N, such as 3/20")
    return list(range(int(part), count, int(parts)))


def run_cells(grid: Grid, workdir: epath.PathLike, cell: str | None = None) -> None:
    """Train and answer the runs of a share of the grid; those that are finished are skipped."""
    runs = grid.runs()
    for place in share(len(runs), cell):
        chosen, seed = runs[place]
        directory = _directory(workdir, chosen, seed)
        if (directory / "predictions" / f"{grid.split}.jsonl").exists():
            continue
        print(f"cell {place} of {len(runs)}: {chosen.name}, seed {seed}", flush=True)
        experiment = _seeded(grid, chosen, seed, workdir)
        run.train(experiment, directory)
        trained = run.load_trained(directory)
        found = sentences(
            trained, open_data(experiment.split(grid.split)), experiment.evaluation.decode
        )
        write_predictions(directory / "predictions" / f"{grid.split}.jsonl", found)


def collect(grid: Grid, workdir: epath.PathLike) -> str:
    """The Markdown table of the runs that are finished, differences against the first row."""
    truths = truths_of(open_data(grid.cells[0].experiment.split(grid.split)))
    scored: dict[str, list[Scored]] = {}
    for cell, seed in grid.runs():
        file = _directory(workdir, cell, seed) / "predictions" / f"{grid.split}.jsonl"
        if file.exists():
            found = measure(read_predictions(file), truths, _CONFIG, read_edits=edit_reader(truths))
            scored.setdefault(cell.name, []).append(found)
    names = [name.removeprefix("structured.") for name in METRICS]
    rows = [
        f"{grid.name}, split {grid.split}; difference to the first row with its paired interval, "
        "clustered by recording, over seeds",
        "",
        "| cell | seeds | " + " | ".join(names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    first = scored.get(grid.cells[0].name)
    without_intervals = ""
    for cell in grid.cells:
        results = scored.get(cell.name, [])
        cells = [_mean(results, metric) for metric in METRICS]
        if results and first and results is not first:
            try:
                differences = compare(results, first, truths, _CONFIG)
            except TooFewRecordings as error:
                without_intervals = str(error)
            else:
                cells = [
                    f"{text} ({_signed(differences[metric])})"
                    for text, metric in zip(cells, METRICS, strict=True)
                ]
        rows.append(f"| {cell.name} | {len(results)}/{grid.seeds} | " + " | ".join(cells) + " |")
    if without_intervals:
        rows += ["", f"no differences: {without_intervals}"]
    return "\n".join(rows)


_CONFIG = ScoreConfig(captions=CaptionConfig(metrics=()))


def _mean(results: Sequence[Scored], metric: str) -> str:
    if not results:
        return "not run"
    scores = [r.measures[metric].values.sum() / r.measures[metric].counts.sum() for r in results]
    spread = f" ± {100 * np.std(scores, ddof=1):.1f}" if len(scores) > 1 else ""
    return f"{100 * np.mean(scores):.1f}{spread}"


def _signed(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f}, {100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


def _directory(workdir: epath.PathLike, cell: Cell, seed: int) -> epath.Path:
    return epath.Path(workdir) / f"{cell.name}-{seed}"


def _seeded(grid: Grid, cell: Cell, seed: int, workdir: epath.PathLike) -> Experiment:
    """The experiment of a run; its sources replaced by cached features if the grid wants them."""
    experiment = replace(cell.experiment, train=replace(cell.experiment.train, seed=seed))
    if not grid.features_from:
        return experiment
    if not isinstance(experiment.model, Adc):
        raise ConfigError(f"cell {cell.name}: only pair models train on cached features")
    data = experiment.data
    root = str(epath.Path(workdir) / "features")
    test = experiment.split(grid.split)
    return replace(
        experiment,
        model=replace(experiment.model, freeze_encoder=True),
        start=(),
        data=replace(
            data,
            train=cached(data.train, grid.features_from, f"{root}/train", data),
            validation=cached(data.validation, grid.features_from, f"{root}/validation", data),
            test=(
                Split(grid.split, cached(test, grid.features_from, f"{root}/{grid.split}", data)),
            ),
        ),
    )
