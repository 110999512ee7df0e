"""`adiff data clotho`, `adiff data audiocaps`: their arguments, what they do, what they print."""

import argparse
from typing import TYPE_CHECKING, Any

from adiff_jax import verbs_tables

if TYPE_CHECKING:
    from adiff_jax.data.builders.captioned_files import AudioCaps, Clotho

_MISSING = (
    "\n\nClips are found under other suffixes of audio. Clips that are not there or broken are "
    "listed in\nOUT/missing.txt; to do without them, give that list to --exclude. Scores on the "
    "tables say how\nmuch of the split they cover."
)


def add(actions: Any) -> None:
    """Add the actions to the subparsers of `adiff data`."""
    _add(
        actions,
        "clotho",
        clotho,
        "build tables of captioned clips from your copy of Clotho",
        "Example:\n"
        "  adiff data clotho --audio clotho --train clotho_captions_development.csv \\\n"
        "    --validation clotho_captions_validation.csv --test clotho_captions_evaluation.csv \\\n"
        "    --out tables/clotho\n\n"
        "Files lie in the folder --audio or in development, validation and evaluation below it.\n"
        "A file whose name differs from the table's in spaces and signs only is found too, unless\n"
        "another has the same letters and digits.",
    )
    _add(
        actions,
        "audiocaps",
        audiocaps,
        "build tables of captioned clips from your copy of AudioCaps",
        "Example:\n"
        "  adiff data audiocaps --audio audiocaps --train train.csv --validation val.csv \\\n"
        "    --test test.csv --out tables/audiocaps\n\n"
        "Files lie in the folder --audio or in train, val and test below it, and are called\n"
        "YID.wav, ID.wav, ID_30.wav, ID_30_40.wav or ID_30000_40000.wav: the video's id and the\n"
        "start of the clip, in s or ms.",
    )


def clotho(options: argparse.Namespace, rest: list[str]) -> None:
    """Write Clotho as tables."""
    from adiff_jax.data.builders.captioned_files import Clotho

    _build(options, Clotho)


def audiocaps(options: argparse.Namespace, rest: list[str]) -> None:
    """Write AudioCaps as tables."""
    from adiff_jax.data.builders.captioned_files import AudioCaps

    _build(options, AudioCaps)


def _add(actions: Any, name: str, run: Any, summary: str, epilog: str) -> None:
    parser = actions.add_parser(
        name,
        help=summary,
        description=f"{summary}: one example a clip, with all its captions as references.",
        epilog=epilog + _MISSING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--audio", required=True, help="folder of the audio files")
    for split in ("train", "validation", "test"):
        parser.add_argument(
            f"--{split}", default="", metavar="CSV", help=f"the captions of the {split} split"
        )
    parser.add_argument("--exclude", default="", metavar="FILE", help="clips to do without")
    parser.add_argument("--rate", type=int, default=44_100, help="Hz to store (default 44100)")
    parser.add_argument("--out", required=True)
    verbs_tables.add_arguments(parser)


def _build(options: argparse.Namespace, kind: "type[Clotho] | type[AudioCaps]") -> None:
    from adiff_jax.data.builders.captioned_clips import build_captioned

    tables = options.train, options.validation, options.test
    config = kind(options.audio, *tables, options.exclude, options.rate)
    by = verbs_tables.reader_of(options)
    verbs_tables.say(build_captioned(config, options.out, by=by), options)
