"""Test splits that a run was not configured with: recipe files and tables that users name.

A model that reads prompts is asked for each tier by itself, `NAME_tier1` and so on, as the scores
of tiers mean different things.
"""

from dataclasses import replace

from etils import epath

from adiff_jax.data.builders.table_source import Table
from adiff_jax.data.sources import Explanations, RecipeFile, open_source
from adiff_jax.experiment import ConfigError, Split
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.run import Trained

TIERS = (1, 2, 3)


def with_recipe(trained: Trained, path: str, folder: str) -> tuple[Trained, tuple[str, ...]]:
    """The run with test splits more, and their names: a recipe file over the recordings in
    `folder`, called after the file.

    Raises ConfigError when the experiment has a split of that name, whose answers would be
    overwritten, and for a run that does not answer on pairs.
    """
    name, rate = epath.Path(path).stem, trained.parts.experiment.data.encode.rate
    return _with(trained, "--recipe", name, RecipeFile(path, folder, rate), TIERS)


def with_table(trained: Trained, directory: str) -> tuple[Trained, tuple[str, ...]]:
    """The same for the test split of the tables in `directory`, called after it, in those tiers
    that it holds."""
    table = Table(directory, "test")
    source = open_source(table)
    tiers = {source.truth(index).tier for index in range(len(source))}
    return _with(trained, "--table", epath.Path(directory).name, table, tuple(sorted(tiers)))


def _with(
    trained: Trained, option: str, name: str, source: RecipeFile | Table, tiers: tuple[int, ...]
) -> tuple[Trained, tuple[str, ...]]:
    experiment, data = trained.parts.experiment, trained.parts.experiment.data
    match experiment.model:
        case Adc() | Cl4ac():
            splits = [Split(name, source)]
        case Adiff():
            if not {*tiers} <= {*TIERS}:
                raise ConfigError(f"{option}: {name} holds no explanations, which ADIFF is asked")
            splits = [Split(f"{name}_tier{tier}", Explanations(source, (tier,))) for tier in tiers]
        case model:
            kind = type(model).__name__
            raise ConfigError(
                f"{option}: pairs and clips are answered by captioners, this run is a {kind}"
            )
    taken = {"train", "validation", *(split.name for split in data.test)}
    names = tuple(split.name for split in splits)
    if both := taken & {name, *names}:
        raise ConfigError(
            f"{option}: {experiment.name} has a split {min(both)!r} of its own; give another name "
            "to the file or directory"
        )
    experiment = replace(experiment, data=replace(data, test=(*data.test, *splits)))
    return replace(trained, parts=replace(trained.parts, experiment=experiment)), names
