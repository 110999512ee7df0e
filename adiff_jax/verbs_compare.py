"""The verb `compare`: two files of answers, pair by pair."""

import argparse

EXAMPLES = """Examples:
  adiff compare runs/adiff/predictions/single.jsonl runs/adiff/predictions/single.zero_prefix.jsonl
  adiff compare runs/adiff runs/naive --split single
  adiff compare runs/adiff other_system.jsonl --split single"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb."""
    for name in ("first", "second"):
        parser.add_argument(name, help="answers (JSON lines: id, text), or a run that has answered")
    parser.add_argument("--split", default="", help="where the names of the files do not say it")


def compare(options: argparse.Namespace, rest: list[str]) -> None:
    """Print the table."""
    from adiff_jax.comparison import compare_answers

    print(compare_answers(options.first, options.second, options.split), end="")
