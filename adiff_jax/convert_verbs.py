"""The verbs `convert` and `export`: PyTorch checkpoints in and out."""

import argparse

KINDS = ("adiff", "gpt2", "htsat", "byola", "cnn10")
"""Kinds of checkpoints, named here because asking for help imports nothing heavy."""


def convert(options: argparse.Namespace, rest: list[str]) -> None:
    """Convert a checkpoint; print its blocks and the next command."""
    from adiff_jax.conversion import UNCHECKED, convert

    report = convert(
        options.kind,
        options.file,
        options.out,
        options.classes,
        "" if options.ours else "adiff-2025",
    )
    total = report.counts[""]
    width = max(len(block) for block in report.counts)
    for block, count in report.counts.items():
        if block:
            print(f"{block:{width}}  {count:>13,}")
    print(f"{'parameters':{width}}  {total:>13,}")
    print(f"{report.entries} entries, {report.carried} of them carried beside the weights")
    print(UNCHECKED)
    print(f"converted: {report.directory}\nnext: {report.next_command}")


def export(options: argparse.Namespace, rest: list[str]) -> None:
    """Write a run's weights as a PyTorch file."""
    from adiff_jax.conversion import export

    count = export(options.run_directory, options.file, options.like)
    print(f"exported: {options.file}, {count} entries")
