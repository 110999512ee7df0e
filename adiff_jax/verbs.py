"""What each verb of the command line does: calls one function of a room, and prints.

Everything is imported where it is needed, so that `adiff --help` answers at once.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adiff_jax.experiment import Experiment

from adiff_jax import verbs_job


def demo(options: argparse.Namespace, rest: list[str]) -> None:
    """Train, evaluate and explain on procedural audio."""
    from adiff_jax.demo import EXPLAINED, demo, example_folder
    from adiff_jax.evaluate.table import markdown_table
    from adiff_jax.train.compilation import enable_compile_cache

    enable_compile_cache()
    metrics = demo(options.workdir)
    print(markdown_table({"demo": metrics}))
    print(f"scores: {options.workdir}/metrics.json")
    pair = example_folder(options.workdir, EXPLAINED[0])
    clips = f"{pair / 'before.wav'} {pair / 'after.wav'}"
    print(f"try: {_command()} explain {options.workdir} {clips} --plot pair.png")


def _command() -> str:
    """How to call this program again: by its name where that is found, else by its path."""
    if shutil.which("adiff"):
        return "adiff"
    beside = Path(sys.executable).with_name("adiff")
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def train(options: argparse.Namespace, rest: list[str]) -> None:
    """Train an experiment, its fields overridden by `rest`."""
    if options.config is None:
        print(
            "usage: adiff train CONFIG [--workdir DIR] [--init RUN ...] [--FIELD VALUE ...]\n\n"
            "Train an experiment; a run that was interrupted goes on where it stopped.\n"
            "--init RUN starts from what another run has trained: a tagger gives its encoder, a\n"
            "language model itself, a run of the same model everything.\n"
            "`adiff train CONFIG --help` lists every field of CONFIG and its value, for example\n"
            "`adiff train configs/adc_esc10.py --model.sdd.weight 2 --train.seed 1`.\n\n"
            + verbs_job.JOB
        )
        sys.exit(0 if options.show_help else 2)
    from adiff_jax import run, starting
    from adiff_jax.train.compilation import enable_compile_cache

    fields = [*rest, *(["--help"] if options.show_help else [])]
    experiment = experiment_with("train", options.config, fields)
    enable_compile_cache()
    experiment = starting.starting_from(experiment, options.init)
    directory = run.train(experiment, options.workdir or f"runs/{experiment.name}")
    print(f"trained: {directory.path}\nnext: adiff evaluate {directory.path}")


def experiment_with(verb: str, config: str, fields: Sequence[str]) -> "Experiment":
    """The experiment of a config file with fields of it overridden, as on the command line."""
    import tyro

    from adiff_jax.experiment import load_experiment

    default = load_experiment(config)
    return tyro.cli(
        type(default),
        prog=f"adiff {verb} {config}",
        description="Every field can be overridden.",
        default=default,
        args=fields,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
    )


def evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    """Score a run, or a file of answers, and print the table."""
    from adiff_jax.answer import Answering, answer, score_file
    from adiff_jax.evaluate.table import markdown_table
    from adiff_jax.more_splits import with_recipe, with_table
    from adiff_jax.run import load_trained
    from adiff_jax.train.compilation import enable_compile_cache

    if options.folder and not options.recipe:
        raise ValueError("--folder says where the recordings of --recipe are; give both")
    for option in ("decode", "control", "windows"):
        if options.predictions and getattr(options, option):
            raise ValueError(f"--predictions are answers already: leave out --{option}")
    enable_compile_cache()
    trained = load_trained(options.run_directory)
    names: Sequence[str]
    if options.recipe:
        trained, names = with_recipe(trained, options.recipe, options.folder or "esc10")
    elif options.table:
        trained, names = with_table(trained, options.table)
    elif options.split:
        names = [options.split]
    else:
        names = [split.name for split in trained.parts.experiment.data.test] or ["validation"]
    if options.split and options.split not in names:
        given = "--recipe" if options.recipe else "--table"
        raise ValueError(f"--split {options.split!r} is not one of {given}: {' | '.join(names)}")
    names = [options.split] if options.split else names
    if options.predictions and len(names) > 1:
        raise ValueError(f"--predictions: which split is answered? --split {' | '.join(names)}")
    config = Answering(options.decode, tuple(options.require), options.control, options.windows)
    for split in names:
        if options.predictions:
            metrics = score_file(trained, split, options.predictions, config)
            name = options.predictions
        else:
            metrics = answer(trained, split, config)
            name = trained.parts.experiment.name
        if wordless := {"tagging", "language"} & metrics.keys():
            print(json.dumps(metrics[wordless.pop()], indent=2))
        else:
            whole = "all windows" if options.windows else ""
            how = (metrics.get("decode", "given answers"), options.control, whole)
            print(", ".join([split, *filter(None, how)]))
            print(markdown_table({name: metrics}))


def ablate(options: argparse.Namespace, rest: list[str]) -> None:
    """Run cells of a grid and print its table."""
    from adiff_jax.ablate import load_grid, run_cells
    from adiff_jax.grid_table import collect
    from adiff_jax.train.compilation import enable_compile_cache

    enable_compile_cache()
    grid = load_grid(options.grid)
    workdir = options.workdir or f"runs/{grid.name}"
    if not options.collect:
        run_cells(grid, workdir, options.cell)
    print(collect(grid, workdir))


def bench(options: argparse.Namespace, rest: list[str]) -> None:
    """Time the parts."""
    from adiff_jax import bench
    from adiff_jax.train.compilation import enable_compile_cache

    enable_compile_cache()
    bench.run(tuple(options.subjects) or None, options.out, partial(print, flush=True))


def metrics(options: argparse.Namespace, rest: list[str]) -> None:
    """Install what the caption metrics need, and try it where there is a Java to run it."""
    from adiff_jax.evaluate.captions import MetricError
    from adiff_jax.evaluate.java import java_missing
    from adiff_jax.evaluate.spice import install, try_out

    folder = options.from_directory
    for jar, digest in install(None if folder is None else Path(folder)).items():
        print(f"{jar}  sha256 {digest}")
    if reason := java_missing():
        print(f"not tried: {reason}")
    elif reason := try_out():
        raise MetricError(f"the jars are installed, but SPICE does not score a sentence: {reason}")
    else:
        print("tried: SPICE scores a sentence")
