"""The command line: parses, calls one function, prints.

adiff demo | train | evaluate | compare | explain | convert | export | parity | ablate | data |
compile | bench | doctor | metrics
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from adiff_jax import (
    convert_verbs,
    verbs,
    verbs_compare,
    verbs_compile,
    verbs_data,
    verbs_doctor,
    verbs_explain,
    verbs_job,
    verbs_parity,
)

SUBJECTS = "log-mel, encoder, decoder, train, decoding, loader, adiff, cl4ac"
"""What `bench` times, named here because asking for help imports nothing heavy."""

Verb = Callable[[argparse.Namespace, list[str]], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `adiff`. Errors of use exit with 2 and one sentence, not a traceback, unless
    the environment has ADIFF_TRACEBACK."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_fields:
        parser.error(f"unknown argument {rest[0]!r}; see adiff {options.verb} --help")
    given = sys.argv[1:] if arguments is None else list(arguments)
    if (
        rest
        and getattr(options, "config", None)
        and given.index(rest[0]) < given.index(options.config)
    ):
        # Only the config knows which of its fields take a value: "--train.steps 5" might be two.
        parser.error(f"the config file comes before {rest[0]}: adiff {options.verb} CONFIG ...")
    # Orbax reports its own options through absl; what concerns the user is said by us.
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        _run(options, rest)
    except BaseException as end:
        verbs_job.leave_after(end, options.verb)
        raise


def _run(options: argparse.Namespace, rest: list[str]) -> None:
    try:
        verbs_job.join(options)
        options.run(options, rest)
    except SystemExit:  # before the next clause but one, which imports every room
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except _expected_errors() as error:
        if os.environ.get("ADIFF_TRACEBACK"):
            raise
        print(f"adiff {options.verb}{verbs_job.who()}: {error}", file=sys.stderr)
        sys.exit(2)


def _expected_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is meant for the user."""
    from adiff_jax.audio.io import AudioError
    from adiff_jax.checkpoint.checkpoints import CheckpointError
    from adiff_jax.checkpoint.run_directory import RunDirectoryError
    from adiff_jax.data.builders.on_beam import BeamError
    from adiff_jax.data.pipeline import ExampleError, WorkerError
    from adiff_jax.evaluate.captions import MetricError
    from adiff_jax.parallel.roll import JobError
    from adiff_jax.train.refusals import TrainingError

    return (
        AudioError,
        BeamError,
        CheckpointError,
        RunDirectoryError,
        ExampleError,
        JobError,
        MetricError,
        TrainingError,
        WorkerError,
        ValueError,  # ConfigError among them
        OSError,  # absent, read-only and full disks; no connection
        ImportError,  # of what is optional: wandb, torch
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adiff",
        description="Models that say in words how two recordings differ.",
        epilog="Start with `adiff demo`; then `adiff explain runs/demo before.wav after.wav`.",
    )
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Verb, summary: str, epilog: str = "", fields: bool = False) -> Any:
        sub = subparsers.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=not fields,
        )
        sub.set_defaults(run=run, takes_fields=fields)
        return sub

    demo = verb("demo", verbs.demo, "train, evaluate and explain on procedural audio, in minutes")
    demo.add_argument("--workdir", default="runs/demo", help="run directory (default runs/demo)")

    train = verb("train", verbs.train, "train an experiment; resumes by itself", fields=True)
    train.add_argument("config", nargs="?", help="a config file, such as configs/adc_esc10.py")
    train.add_argument("--workdir", help="run directory (default runs/NAME)")
    train.add_argument("--init", action="append", default=[], metavar="RUN")
    train.add_argument("-h", "--help", action="store_true", dest="show_help")
    verbs_job.add_arguments(train)

    evaluate = verb(
        "evaluate",
        verbs.evaluate,
        "answer a test split exactly once per example and score it",
        "Examples:\n  adiff evaluate runs/adc_esc10 --split single --decode beam:4\n"
        "  adiff evaluate runs/adc_esc10 --split single --predictions other_system.jsonl\n"
        "  adiff evaluate runs/adiff --split single --control zero-prefix\n"
        "  adiff evaluate runs/adc_esc10 --recipe recipes/fold5_single.json --folder ESC-50\n"
        "  adiff evaluate runs/adiff --table tables/acd",
    )
    evaluate.add_argument("run_directory")
    evaluate.add_argument(
        "--split", help="a test split of the experiment, or validation; a tier of --recipe, --table"
    )
    scored = evaluate.add_mutually_exclusive_group()
    scored.add_argument("--recipe", metavar="FILE", help="a recipe file, see `adiff data recipes`")
    scored.add_argument(
        "--table", metavar="DIR", help="the test split of tables, see `adiff data explanations`"
    )
    evaluate.add_argument("--folder", help="the recordings of --recipe (default esc10)")
    evaluate.add_argument(
        "--decode", default="", help="greedy, greedy:repetition=1.2, beam:4, sample:0.8, ..."
    )
    evaluate.add_argument(
        "--control",
        choices=["shuffled-audio", "zero-prefix", "random-encoder"],
        help="answer without hearing the clips, into files of its own",
    )
    evaluate.add_argument(
        "--windows", action="store_true", help="hear all of recordings that are long (ADIFF)"
    )
    evaluate.add_argument("--predictions", help="score these answers (JSON lines: id, text)")
    evaluate.add_argument(
        "--require",
        action="append",
        default=[],
        choices=["bleu", "rouge_l", "cider_d", "meteor", "spice"],
        help="fail without this metric",
    )
    verbs_job.add_arguments(evaluate)

    verbs_explain.add_arguments(
        verb(
            "explain",
            verbs_explain.explain,
            "say how the second recording differs from the first",
            verbs_explain.EXAMPLES,
        )
    )

    summary = "tell two files of answers apart, pair by pair"
    compare = verb("compare", verbs_compare.compare, summary, verbs_compare.EXAMPLES)
    verbs_compare.add_arguments(compare)

    convert_verbs.add_convert_arguments(
        verb(
            "convert",
            convert_verbs.convert,
            "make a run directory of a PyTorch checkpoint, to use or to start from",
            convert_verbs.EXAMPLES,
        )
    )
    convert_verbs.add_export_arguments(
        verb("export", convert_verbs.export, "write a run's weights as a PyTorch file")
    )
    verbs_parity.add_arguments(
        verb(
            "parity",
            verbs_parity.parity,
            "check a PyTorch module against its Flax twin: outputs and gradients",
            verbs_parity.EXAMPLES,
        )
    )

    ablate = verb(
        "ablate",
        verbs.ablate,
        "run a grid of experiments and print one table; resumable",
        "Examples:\n  adiff ablate configs/ablations/mask_sdd.py            all cells\n"
        "  adiff ablate configs/ablations/mask_sdd.py --cell 3/20  one, from an array job's index\n"
        "  adiff ablate configs/ablations/mask_sdd.py --collect    the table of what has run",
    )
    ablate.add_argument("grid", help="a file with get_grid() -> Grid")
    ablate.add_argument("--workdir", help="directory of all cells (default runs/GRID)")
    ablate.add_argument("--cell", help="i/N: run the i-th of N shares of the grid, i from 0")
    ablate.add_argument("--collect", action="store_true", help="only make the table")
    verbs_job.add_arguments(ablate)

    verbs_data.add_arguments(verb("data", verbs_data.data, "make pairs, build tables, check files"))

    summary = "compile for a TPU slice without one: memory, operations, collectives, fits or not"
    verbs_compile.add_arguments(verb("compile", verbs_compile.compile, summary, fields=True))

    bench = verb("bench", verbs.bench, "time the parts: medians, torch beside them if installed")
    bench.add_argument("subjects", nargs="*", help=f"which of {SUBJECTS} (default all)")
    bench.add_argument("--out", help="write the table to this Markdown file too")

    summary = "is everything there for a training: a line for each thing, with the way out"
    doctor = verb("doctor", verbs_doctor.doctor, summary, verbs_doctor.EXAMPLES)
    verbs_doctor.add_arguments(doctor)
    verbs_job.add_arguments(doctor)

    metrics = verb("metrics", verbs.metrics, "install what the caption metrics need")
    metrics.add_argument("action", choices=["install"])
    metrics.add_argument("--from", dest="from_directory", help="take the CoreNLP jars from here")
    return parser
