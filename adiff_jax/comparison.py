"""`adiff compare`: two files of answers to the same examples, pair by pair.

The files are what `adiff evaluate` writes: of two runs, of two controls or strategies of one run,
or of another system. The experiment of the run that a file lies in says what was asked.
"""

from collections.abc import Sequence

from etils import epath

from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.data.schema import Truth
from adiff_jax.evaluate.captions import CaptionConfig
from adiff_jax.evaluate.difference import compare
from adiff_jax.evaluate.intervals import TooFewRecordings
from adiff_jax.evaluate.measuring import Scored
from adiff_jax.evaluate.predictions import read_predictions
from adiff_jax.evaluate.scoring import ScoreConfig, measure
from adiff_jax.evaluate.table import difference_table
from adiff_jax.experiment import ConfigError, Experiment
from adiff_jax.experiment_json import from_json
from adiff_jax.opened import open_data
from adiff_jax.storage import located
from adiff_jax.validate import readers_of

_CONFIG = ScoreConfig(captions=CaptionConfig(metrics=("bleu", "rouge_l", "cider_d")))


def compare_answers(first: str, second: str, split: str = "") -> str:
    """The Markdown table of two files of answers, with paired intervals of their differences.

    Either is a file, or a run directory, whose answers to the split are then taken. `split` may be
    left out where the name of a file says it, or the run has one test split only.

    Raises ConfigError when neither lies in a run directory or the split is not clear, ValueError
    when a file answers other examples.
    """
    experiment = _experiment_of(first, second)
    name = split or _split_of(experiment, first, second)
    source = open_data(experiment.split(name))
    truths = [source.truth(index) for index in range(len(source))]
    files = [_file(path, name) for path in (first, second)]
    one, other = (_scored(file, truths) for file in files)
    without = ""
    try:
        differences = compare([one], [other], truths, _CONFIG)
    except TooFewRecordings as error:
        differences, without = {}, f"\nno differences: {error}\n"
    return (
        f"split {name}, {len(truths)} examples\nfirst: {files[0]}\nsecond: {files[1]}\n"
        f"sentences with other words: {_differing(*files)}\n\n"
        f"{difference_table(one.scores, other.scores, differences)}{without}\n"
        f"first - second with paired {_CONFIG.level:.0%} intervals, clustered by recording; how\n"
        "much another training of either would differ is not in them (`adiff ablate` sees seeds)\n"
    )


def _experiment_of(*paths: str) -> Experiment:
    """The experiment of the first path that is, or lies in, a run directory."""
    places = [located(path) for path in paths]
    for place in places:
        _check_there(place)
    for place in places:
        run = RunDirectory.at(place if place.is_dir() else place.parent.parent)
        if run.experiment.exists():
            return from_json(run.read_experiment())
    raise ConfigError(
        f"neither {' nor '.join(paths)} is, or lies in the predictions of, a run directory, whose "
        "experiment says what the examples are"
    )


def _split_of(experiment: Experiment, *paths: str) -> str:
    """The split that the names of the files begin with, or the only test split."""
    tests = [split.name for split in experiment.data.test]
    names = [epath.Path(path).name for path in paths]
    begun = [[one for one in (*tests, "validation") if n.startswith(f"{one}.")] for n in names]
    named = {max(splits, key=len) for splits in begun if splits}
    if not named and len(tests) == 1:
        return tests[0]
    if len(named) != 1:
        raise ConfigError(f"which split is answered? --split {' | '.join([*tests, 'validation'])}")
    return named.pop()


def _file(path: str, split: str) -> epath.Path:
    place = located(path)
    return RunDirectory.at(place).predictions / f"{split}.jsonl" if place.is_dir() else place


def _scored(file: epath.Path, truths: Sequence[Truth]) -> Scored:
    """The scores of a file. ValueError when its references are not those of the examples."""
    _check_there(file)
    rows, references = read_predictions(file), {one.id: one.references for one in truths}
    for row in rows:
        if row.references and row.references != references.get(row.id, row.references):
            raise ValueError(
                f"{file} answers other examples: to {row.id} it has the reference "
                f"{row.references[0]!r}, the split {references[row.id]}"
            )
    return measure(rows, truths, _CONFIG, readers=readers_of(truths))


def _differing(*files: epath.Path) -> str:
    """How many answers are not the same, and by how much the log-probabilities of these differ at
    most: little where one model has said both on other devices, whose sums near-ties hang on."""
    first, second = ({row.id: row for row in read_predictions(file)} for file in files)
    pairs = [(row, second[name]) for name, row in first.items() if name in second]
    others = [(a, b) for a, b in pairs if a.text != b.text]
    gaps = [
        abs(a.logprob - b.logprob)
        for a, b in others
        if a.logprob is not None and b.logprob is not None
    ]
    least = f", log-probabilities up to {max(gaps):.2g} apart" if gaps else ""
    return f"{len(others)} of {len(pairs)}{least}"


def _check_there(path: epath.Path) -> None:
    if not path.exists():
        raise ConfigError(
            f"{path} does not exist: `adiff evaluate RUN`, with --split, --control or --decode as "
            "the file's name says, writes it"
        )
