"""The verbs `convert` and `export`: PyTorch checkpoints in and out."""

import argparse

KINDS = ("adiff", "gpt2", "htsat", "byola", "cnn10")
"""Kinds of checkpoints, named here because asking for help imports nothing heavy."""

EXAMPLES = """Examples:
  adiff convert adiff adiff_base.ckpt runs/adiff
  adiff convert gpt2 path/of/gpt2-medium runs/gpt2_medium   a Hugging Face directory
  adiff export runs/adiff adiff.safetensors                 the same entries back"""


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `convert`."""
    parser.add_argument("kind", choices=KINDS, help="what the file holds")
    parser.add_argument("file", help=".safetensors, .ckpt, .pt, .pth, .bin, or a HF directory")
    parser.add_argument("out", help="the run directory to make")
    parser.add_argument(
        "--classes",
        default="",
        metavar="FILE",
        help="names of a tagging head's classes: one a line, or AudioSet's CSV of labels",
    )
    parser.add_argument(
        "--ours",
        action="store_true",
        help="an ADIFF trained here, with our conventions of text and audio, not the published",
    )


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export`."""
    parser.add_argument("run_directory")
    parser.add_argument("file", help=".safetensors, .ckpt, .pt, .pth or .bin")
    parser.add_argument(
        "--like",
        default="",
        metavar="CONVERTED",
        help="name entries as in this converted run (for a run trained from it)",
    )


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
