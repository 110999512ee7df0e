"""The command line: parses, calls one function, prints.

adiff demo | train | evaluate | explain | ablate | data | bench | metrics
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Verb = Callable[[argparse.Namespace, list[str]], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `adiff`. Errors of use exit with 2 and one sentence, not a traceback."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_fields:
        parser.error(f"unknown argument {rest[0]!r}; see adiff {options.verb} --help")
    try:
        options.run(options, rest)
    except SystemExit:
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except _expected_errors() as error:
        print(f"adiff {options.verb}: {error}", file=sys.stderr)
        sys.exit(2)


def _expected_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is meant for the user."""
    from adiff_jax.audio.io import AudioError
    from adiff_jax.checkpoint.checkpoints import CheckpointError
    from adiff_jax.checkpoint.run_directory import RunDirectoryError
    from adiff_jax.data.pipeline import ExampleError
    from adiff_jax.train.loop import TrainingError

    return (
        AudioError,
        CheckpointError,
        RunDirectoryError,
        ExampleError,
        TrainingError,
        ValueError,  # ConfigError among them
        FileNotFoundError,
        FileExistsError,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adiff",
        description="Models that say in words how two recordings differ.",
        epilog="Start with `adiff demo`; then `adiff explain runs/demo before.wav after.wav`.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Verb, summary: str, epilog: str = "", fields: bool = False) -> Any:
        sub = verbs.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=not fields,
        )
        sub.set_defaults(run=run, takes_fields=fields)
        return sub

    demo = verb("demo", _demo, "train, evaluate and explain on procedural audio, in minutes")
    demo.add_argument("--workdir", default="runs/demo", help="run directory (default runs/demo)")

    train = verb("train", _train, "train an experiment; resumes by itself", fields=True)
    train.add_argument("config", nargs="?", help="a config file, such as configs/adc_esc10.py")
    train.add_argument("--workdir", help="run directory (default runs/NAME)")
    train.add_argument("-h", "--help", action="store_true", dest="show_help")

    evaluate = verb(
        "evaluate",
        _evaluate,
        "answer a test split exactly once per example and score it",
        "Examples:\n  adiff evaluate runs/adc_esc10 --split single --decode beam:4\n"
        "  adiff evaluate runs/adc_esc10 --split single --predictions other_system.jsonl",
    )
    evaluate.add_argument("run_directory")
    evaluate.add_argument("--split", help="a test split of the experiment, or validation")
    evaluate.add_argument("--decode", default="", help="greedy, beam:4, sample:0.8, ...")
    evaluate.add_argument("--predictions", help="score these answers (JSON lines: id, text)")
    evaluate.add_argument(
        "--require",
        action="append",
        default=[],
        choices=["bleu", "rouge_l", "cider_d", "meteor", "spice"],
        help="fail without this metric",
    )

    explain = verb("explain", _explain, "say how the second recording differs from the first")
    explain.add_argument("run_directory")
    explain.add_argument("first", help="an audio file")
    explain.add_argument("second", help="an audio file")
    explain.add_argument("--decode", default="beam:4", help="greedy, beam:4, sample:0.8, ...")
    explain.add_argument("--n-best", type=int, default=1, help="how many sentences (beam only)")
    explain.add_argument("--plot", metavar="PNG", help="spectrograms and attention as a picture")

    ablate = verb(
        "ablate",
        _ablate,
        "run a grid of experiments and print one table; resumable",
        "Examples:\n  adiff ablate configs/ablations/mask_sdd.py            all cells\n"
        "  adiff ablate configs/ablations/mask_sdd.py --cell 3/20  one, from an array job's index\n"
        "  adiff ablate configs/ablations/mask_sdd.py --collect    the table of what has run",
    )
    ablate.add_argument("grid", help="a file with get_grid() -> Grid")
    ablate.add_argument("--workdir", help="directory of all cells (default runs/GRID)")
    ablate.add_argument("--cell", help="i/N: run the i-th of N shares of the grid, i from 0")
    ablate.add_argument("--collect", action="store_true", help="only make the table")

    _add_data(verb("data", _data, "make pairs, build tables, check files"))

    bench = verb("bench", _bench, "time the parts: medians, with torch beside them if installed")
    bench.add_argument("subjects", nargs="*", help="which (default all)")
    bench.add_argument("--out", help="write the table to this Markdown file too")

    metrics = verb("metrics", _metrics, "install what the caption metrics need")
    metrics.add_argument("action", choices=["install"])
    metrics.add_argument("--from", dest="from_directory", help="take the CoreNLP jars from here")
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("synth", "write a config's pairs as audio files with a CSV"),
        ("build", "write a config's pairs as tables (TFDS, ArrayRecord)"),
    ):
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.add_argument("config", help="a config file")
        sub.add_argument("--split", default="train", help="train, validation or a test split")
        sub.add_argument("--size", type=int, help="only the first examples")
        sub.add_argument("--out", required=True)
        if name == "synth":
            sub.add_argument("--format", choices=["flac", "wav"], default="flac")
    verify = actions.add_parser("verify", help="report missing, broken and duplicated clips")
    verify.add_argument("paths", nargs="+", help="pair CSVs or folders, one a split")


def _demo(options: argparse.Namespace, rest: list[str]) -> None:
    from adiff_jax.demo import demo
    from adiff_jax.evaluate.table import markdown_table

    metrics = demo(options.workdir)
    print(markdown_table({"demo": metrics}))
    print(f"scores: {options.workdir}/metrics.json")
    print(f"try: adiff explain {options.workdir} before.wav after.wav --plot pair.png")


def _train(options: argparse.Namespace, rest: list[str]) -> None:
    if options.config is None:
        print(
            "usage: adiff train CONFIG [--workdir DIR] [--FIELD VALUE ...]\n\n"
            "Train an experiment; a run that was interrupted goes on where it stopped.\n"
            "`adiff train CONFIG --help` lists every field of CONFIG and its value, for example\n"
            "`adiff train configs/adc_esc10.py --model.sdd.weight 2 --train.seed 1`."
        )
        sys.exit(0 if options.show_help else 2)
    import tyro

    from adiff_jax import run
    from adiff_jax.experiment import load_experiment
    from adiff_jax.train.compilation import enable_compile_cache

    default = load_experiment(options.config)
    experiment = tyro.cli(
        type(default),
        prog=f"adiff train {options.config}",
        description="Every field can be overridden.",
        default=default,
        args=[*rest, *(["--help"] if options.show_help else [])],
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
    )
    enable_compile_cache()
    directory = run.train(experiment, options.workdir or f"runs/{experiment.name}")
    print(f"trained: {directory.path}\nnext: adiff evaluate {directory.path}")


def _evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    from adiff_jax.answer import Answering, answer, score_file
    from adiff_jax.evaluate.table import markdown_table
    from adiff_jax.run import load_trained

    trained = load_trained(options.run_directory)
    names = [split.name for split in trained.parts.experiment.data.test] or ["validation"]
    config = Answering(options.decode, tuple(options.require))
    for split in [options.split] if options.split else names:
        if options.predictions:
            metrics = score_file(trained, split, options.predictions, config)
            name = options.predictions
        else:
            metrics = answer(trained, split, config)
            name = trained.parts.experiment.name
        if "tagging" in metrics:
            print(json.dumps(metrics["tagging"], indent=2))
        else:
            print(f"{split}, {metrics.get('decode', 'given answers')}")
            print(markdown_table({name: metrics}))


def _explain(options: argparse.Namespace, rest: list[str]) -> None:
    from adiff_jax.api import load
    from adiff_jax.plots import plot_pair

    explainer = load(options.run_directory)
    said = explainer(options.first, options.second, decode=options.decode, n_best=options.n_best)
    for note in said.notes:
        print(f"note: {note}", file=sys.stderr)
    for text, score in said.n_best:
        print(f"{text}\t(log-probability {score:.2f})")
    print(f"{said.seconds:.2f} s", file=sys.stderr)
    if options.plot:
        plot_pair(
            options.plot,
            explainer.wave(options.first),
            explainer.wave(options.second),
            explainer.rate,
            explainer.attention(options.first, options.second),
            said.text,
            explainer.frame_seconds,
        )
        print(f"picture: {options.plot}", file=sys.stderr)


def _ablate(options: argparse.Namespace, rest: list[str]) -> None:
    from adiff_jax.ablate import collect, load_grid, run_cells

    grid = load_grid(options.grid)
    workdir = options.workdir or f"runs/{grid.name}"
    if not options.collect:
        run_cells(grid, workdir, options.cell)
    print(collect(grid, workdir))


def _data(options: argparse.Namespace, rest: list[str]) -> None:
    if options.action == "verify":
        from adiff_jax.data.verify import verify

        report = verify(options.paths)
        print(report)
        sys.exit(0 if report.clean else 1)
    from adiff_jax.experiment import load_experiment
    from adiff_jax.parts import open_data

    data = load_experiment(options.config).data
    named = {"train": data.train, "validation": data.validation}
    named |= {split.name: split.source for split in data.test}
    if options.split not in named:
        raise ValueError(f"--split {options.split!r} is not one of {', '.join(named)}")
    config = named[options.split]
    if options.size is not None:
        if not hasattr(config, "size"):
            raise ValueError(f"--size: {type(config).__name__} has a size of its own")
        config = dataclasses.replace(config, size=options.size)
    source = open_data(config)
    if options.action == "synth":
        from adiff_jax.data.export import write_pairs

        write_pairs(source, options.out, options.format)
    else:
        from adiff_jax.data.builders.tables import build_tables

        build_tables({options.split: source}, options.out)
    print(f"wrote {len(source)} examples to {Path(options.out)}")


def _bench(options: argparse.Namespace, rest: list[str]) -> None:
    from adiff_jax import bench

    print(bench.run(tuple(options.subjects) or None, options.out))


def _metrics(options: argparse.Namespace, rest: list[str]) -> None:
    from adiff_jax.evaluate.spice import install

    for path in install(options.from_directory):
        print(path)
