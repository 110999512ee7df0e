"""The arguments of `adiff data` that build tables on Apache Beam."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adiff_jax.data.builders.on_beam import BeamRunner


def add_arguments(parser: Any) -> None:
    """Add the arguments to the parser of an action that builds tables."""
    parser.add_argument(
        "--beam-runner",
        default="",
        metavar="NAME",
        help="read and encode the clips on Apache Beam (extra [beam], `make beam`): DirectRunner, "
        "DataflowRunner, FlinkRunner, SparkRunner, ...",
    )
    parser.add_argument(
        "--beam-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the runner, as Beam documents it, without dashes; may be repeated",
    )


def runner_of(options: argparse.Namespace) -> "BeamRunner | None":
    """The runner that the arguments name; None without one.

    Errors: ValueError for options without a runner, or written with dashes.
    """
    from adiff_jax.data.builders.on_beam import BeamRunner

    if options.beam_runner:
        return BeamRunner(options.beam_runner, tuple(options.beam_option))
    if options.beam_option:
        raise ValueError(f"--beam-option {options.beam_option[0]}: say with --beam-runner of which")
    return None
