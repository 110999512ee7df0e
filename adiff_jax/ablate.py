"""`adiff ablate`: a grid of experiments on the same data; its table is made by `grid_table`.

A grid file defines `get_grid() -> Grid`. Every cell is one experiment and one seed with its own
run directory, so a grid can be interrupted, continued, and spread over an array job. With
`features_from`, the clips are encoded once by a trained run's frozen encoder and all cells train
on the cached features: seeds become cheap, and what differs between cells is what is compared.
"""

from dataclasses import dataclass, replace

import jax
from etils import epath

from adiff_jax import run
from adiff_jax.answer import sentences, truths_of
from adiff_jax.attention_span import attention_on_edits
from adiff_jax.cache import cached, is_cached, made_from
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.data.features import CachedPairs
from adiff_jax.data.order import share_of
from adiff_jax.data.schema import Truth
from adiff_jax.data.synth.made import EditedPairs
from adiff_jax.evaluate.clip_sounds import can_judge
from adiff_jax.evaluate.predictions import write_predictions
from adiff_jax.evaluate.scoring import write_metrics
from adiff_jax.experiment import ConfigError, DataConfig, Experiment, Split, call_config
from adiff_jax.experiment_json import to_json
from adiff_jax.models.adc import Adc
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.opened import open_data
from adiff_jax.storage import located

SAME_ANSWERS = (*(name for name in run.MAY_CHANGE if name != "evaluation"), "evaluation.batch")
"""Fields of an experiment that change nothing that a trained model says."""


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
    grid = call_config(path, "get_grid")
    if not isinstance(grid, Grid) or not grid.cells:
        raise ConfigError(f"get_grid() of {path} must return a Grid with at least one cell")
    return grid


def share(count: int, cell: str | None) -> list[int]:
    """Indices of the runs that "i/N" means; all without it. Raises ConfigError for other text."""
    if cell is None:
        return list(range(count))
    try:
        part, parts = share_of(cell)
    except ValueError as error:
        raise ConfigError(f"--cell {error}") from error
    return list(range(part, count, parts))


def run_cells(grid: Grid, workdir: epath.PathLike, cell: str | None = None) -> None:
    """Train and answer the runs of a share of the grid; those that are finished are skipped.

    Raises ConfigError for a split of which nothing is known, and RunDirectoryError, naming the
    fields, where the runs that are finished are not of the experiments that the grid now holds.
    """
    known_truths(grid)
    for planned in grid.cells:
        experiment_of(grid, planned, 0, workdir)
    runs = grid.runs()
    for place in share(len(runs), cell):
        chosen, seed = runs[place]
        directory = _directory(workdir, chosen, seed)
        answers = answers_of(grid, workdir, chosen, seed)
        if answers.exists():
            continue
        print(f"cell {place} of {len(runs)}: {chosen.name}, seed {seed}", flush=True)
        experiment = experiment_of(grid, chosen, seed, workdir)
        for name, config in _sources(grid, chosen).items():
            cached(config, grid.features_from, _features(workdir, name), experiment.data)
        run.train(experiment, directory)
        trained = run.load_trained(directory)
        source = open_data(experiment.split(grid.split))
        found = sentences(trained, source, experiment.evaluation.decode)
        scenes = open_data(chosen.experiment.split(grid.split))  # features remember no scenes
        if isinstance(scenes, EditedPairs) and isinstance(experiment.model, Adc):
            rows = trained.parts.rows(source)
            looked = attention_on_edits(trained.parts, trained.variables, rows, scenes)
            if jax.process_index() == 0 and looked is not None:
                write_metrics(attention_of(answers), {"attention": {"edited_span": looked}})
        if jax.process_index() == 0:
            write_predictions(answers, found)


def known_truths(grid: Grid) -> list[Truth]:
    """Of the split. Raises ConfigError when neither the true edits of pairs nor the sounds of
    single clips are known."""
    truths = truths_of(open_data(grid.cells[0].experiment.split(grid.split)))
    if all(truth.edits is None and not can_judge(truth) for truth in truths):
        raise ConfigError(
            f"grid {grid.name}: the true edits of split {grid.split!r} are unknown, and a grid "
            "compares nothing else but the sounds of single clips; choose a split of synthesised "
            "pairs or clips"
        )
    return truths


def _directory(workdir: epath.PathLike, cell: Cell, seed: int) -> epath.Path:
    return located(workdir) / f"{cell.name}-{seed}"


def answers_of(grid: Grid, workdir: epath.PathLike, cell: Cell, seed: int) -> epath.Path:
    """The file with the answers of a run. Where it exists, they are checked to be of the
    experiment that the grid now holds: RunDirectoryError (ConfigError for features) if not."""
    directory = RunDirectory.at(_directory(workdir, cell, seed))
    file = directory.predictions / f"{grid.split}.jsonl"
    if file.exists():
        experiment = experiment_of(grid, cell, seed, workdir)
        # Features lie beside the runs, wherever that is, and say themselves what they are made of.
        moved = ("data.train.path", "data.validation.path", "data.test")
        directory.check_owner(
            to_json(experiment), SAME_ANSWERS + (moved if grid.features_from else ())
        )
        for name, config in _sources(grid, cell).items():
            is_cached(_features(workdir, name), made_from(config, experiment.data))
    return file


def attention_of(answers: epath.Path) -> epath.Path:
    """The file that says where a run looks, beside that of its answers."""
    return answers.with_suffix(".attention.json")


def _sources(grid: Grid, cell: Cell) -> dict[str, DataConfig]:
    """What is cached of a cell, by the name of the features: what it trains, selects and is
    scored on, or nothing."""
    if not grid.features_from:
        return {}
    data = cell.experiment.data
    test = cell.experiment.split(grid.split)
    return {"train": data.train, "validation": data.validation, grid.split: test}


def _features(workdir: epath.PathLike, name: str) -> str:
    return str(located(workdir) / "features" / name)


def experiment_of(grid: Grid, cell: Cell, seed: int, workdir: epath.PathLike) -> Experiment:
    """The experiment of a run; its sources those of the cached features if the grid wants them.

    Raises ConfigError for a model that cannot be trained on features of single clips.
    """
    experiment = replace(cell.experiment, train=replace(cell.experiment.train, seed=seed))
    if not grid.features_from:
        return experiment
    if not isinstance(experiment.model, Adc | Cl4ac):
        raise ConfigError(f"cell {cell.name}: only ADC and CL4AC train on cached features")
    if getattr(experiment.model, "difference_channel", False):
        raise ConfigError(
            f"cell {cell.name}: features of single clips hold no difference channel; set "
            "model.difference_channel=False, or train on audio (features_from='')"
        )
    places = {name: CachedPairs(_features(workdir, name)) for name in _sources(grid, cell)}
    return replace(
        experiment,
        model=replace(experiment.model, freeze_encoder=True),
        start=(),
        data=replace(
            experiment.data,
            train=places["train"],
            validation=places["validation"],
            test=(Split(grid.split, places[grid.split]),),
        ),
    )
