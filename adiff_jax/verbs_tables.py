"""Who reads the clips of tables: this process, one of some shards, Apache Beam. The arguments that
say so, of the actions of `adiff data` that build tables, and what these print."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adiff_jax.data.builders.on_beam import BeamRunner
    from adiff_jax.data.builders.shards import Shard


def add_shard(parser: Any) -> None:
    """Add the argument that makes a shard to the parser, or group, of an action."""
    parser.add_argument(
        "--shard",
        default="",
        metavar="i/N",
        help="read and encode the i-th of N shares of the clips only, i from 0, into a file below "
        "OUT/shards; one that is there is not made again. When all N are there, the same command "
        "without --shard joins them to tables, which are those that it makes alone, and removes "
        "them",
    )


def add_arguments(parser: Any) -> None:
    """Add the arguments to the parser of an action that builds tables of clips in files."""
    shared = parser.add_mutually_exclusive_group()
    add_shard(shared)
    shared.add_argument(
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


def reader_of(options: argparse.Namespace) -> "BeamRunner | Shard | None":
    """Who reads the clips, as the arguments of `add_arguments` say; None for this process alone.

    Errors: ValueError for options without a runner, or written with dashes; as `shard_of`.
    """
    from adiff_jax.data.builders.on_beam import BeamRunner

    if options.beam_runner:
        return BeamRunner(options.beam_runner, tuple(options.beam_option))
    if options.beam_option:
        raise ValueError(f"--beam-option {options.beam_option[0]}: say with --beam-runner of which")
    return shard_of(options)


def shard_of(options: argparse.Namespace) -> "Shard | None":
    """The shard that is to be made; None without one. ValueError unless it is written i/N."""
    from adiff_jax.data.builders.shards import Shard
    from adiff_jax.data.order import share_of

    if not options.shard:
        return None
    try:
        return Shard(*share_of(options.shard))
    except ValueError as error:
        raise ValueError(f"--shard {error}") from error


def say(report: object, options: argparse.Namespace) -> None:
    """Print what was built."""
    print(report)
    if not options.shard:
        print(f"wrote tables to {options.out}")
