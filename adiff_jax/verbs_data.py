"""The actions of `adiff data`: their arguments, and what each does: calls one function of a room,
and prints.

Everything is imported where it is needed, so that `adiff --help` answers at once.
"""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from adiff_jax import verbs_captioned, verbs_embed, verbs_explain_pairs, verbs_tables

if TYPE_CHECKING:
    from adiff_jax.experiment import DataConfig

MOST_PAIRS = 20_000
"""Pairs that are written, as files or tables, without being asked how many; of ten seconds, over
5 GB."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `adiff data` and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("synth", "write a config's pairs as audio files with a CSV"),
        ("build", "write a config's pairs as tables (TFDS, ArrayRecord)"),
    ):
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.add_argument("config", help="a config file")
        if name == "build":
            sub.add_argument(
                "--split",
                action="extend",
                nargs="+",
                dest="splits",
                help="train (the default), validation, test splits: one or more",
            )
            verbs_tables.add_shard(sub)
        else:
            sub.add_argument("--split", default="train", help="train, validation or a test split")
        sub.add_argument(
            "--size", type=int, help="how many examples (a recipe file has a size of its own)"
        )
        sub.add_argument("--out", required=True)
        if name == "synth":
            sub.add_argument("--format", choices=["flac", "wav"], default="flac")
    statistics = actions.add_parser("statistics", help="mean and deviation of the log-mel")
    statistics.add_argument("config", help="a config file; its training source is measured")
    owned = actions.add_parser("audiodiffcaps", help="build tables from your AudioDiffCaps audio")
    owned.add_argument("--audio", required=True, help="folder of the audio files")
    for split in ("train", "validation", "test"):
        owned.add_argument(f"--{split}", default="", help=f"CSV file of the {split} pairs")
    owned.add_argument("--out", required=True)
    verbs_tables.add_arguments(owned)
    explained = actions.add_parser(
        "explanations",
        help="build tables of ACD or CLD from its CSV files and your audio",
        description="Build tables of ACD or CLD: explanations of up to three tiers, one CSV file a "
        "tier, and the audio of AudioCaps or Clotho, which you must own.",
        epilog="Example:\n  adiff data explanations --audio audio --validation acd_val_*.csv "
        "--out tables/acd\n\nClips are found under other suffixes of audio, and in the inner "
        "folders of their paths.\nClips that are not there or broken are listed in "
        "OUT/missing.txt; to do without them, give\nthat list to --exclude. Scores on the tables "
        "say how much of the split they cover.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explained.add_argument("--audio", required=True, help="folder of the audio files")
    for split in ("train", "validation", "test"):
        explained.add_argument(
            f"--{split}",
            nargs="+",
            default=(),
            metavar="CSV",
            help=f"the CSV files of the {split} split, one a tier, in any order",
        )
    explained.add_argument("--exclude", default="", metavar="FILE", help="clips to do without")
    explained.add_argument("--rate", type=int, default=32_000, help="Hz (default 32000, ADIFF's)")
    explained.add_argument("--out", required=True)
    verbs_tables.add_arguments(explained)
    missing = actions.add_parser(
        "missing", help="list the clips of a config's LabelledClips that are not there"
    )
    missing.add_argument("config", help="a config file")
    missing.add_argument("--out", required=True, help="the list, for LabelledClips.exclude")
    recipes = actions.add_parser(
        "recipes",
        help="write the five fixed test sets over folds of an ESC folder",
        epilog="Then: adiff evaluate RUN --recipe DIR/fold5_single.json --folder FOLDER",
    )
    recipes.add_argument("--folder", required=True, help="ESC-50, ESC-10, or the like")
    recipes.add_argument(
        "--folds", type=int, nargs="+", help="such as 5, or 1 2; not needed where there is one"
    )
    recipes.add_argument(
        "--backgrounds",
        nargs="+",
        metavar="NAME",
        help="classes heard throughout (default rain sea_waves)",
    )
    recipes.add_argument("--subset", choices=["esc10", "all"], default="esc10", help="of classes")
    recipes.add_argument("--out", required=True)
    verify = actions.add_parser("verify", help="report missing, broken and duplicated clips")
    verify.add_argument(
        "paths", nargs="+", help="CSVs or folders, a split each or each of its folds; tables"
    )
    verbs_explain_pairs.add(actions)
    verbs_embed.add(actions)
    verbs_captioned.add(actions)


def data(options: argparse.Namespace, rest: list[str]) -> None:
    """Write, build, check or measure data."""
    match options.action:
        case "verify":
            from adiff_jax.data.verify import verify

            report = verify(options.paths)
            print(report)
            sys.exit(0 if report.clean else 1)
        case "statistics":
            from adiff_jax.experiment import load_experiment
            from adiff_jax.normalisation import log_mel_statistics
            from adiff_jax.train.compilation import enable_compile_cache

            enable_compile_cache()
            experiment = load_experiment(options.config)
            mean, deviation = log_mel_statistics(experiment)
            field = experiment.encoder_field
            print(f"--{field}.mean {mean:.2f} --{field}.std {deviation:.2f}")
        case "audiodiffcaps":
            from adiff_jax.data.builders.audiodiffcaps import AudioDiffCaps, build_audiodiffcaps

            tables = options.train, options.validation, options.test
            copy = AudioDiffCaps(options.audio, *tables)
            by = verbs_tables.reader_of(options)
            verbs_tables.say(build_audiodiffcaps(copy, options.out, by=by), options)
        case "explanations":
            from adiff_jax.data.builders.explanations import ExplanationFiles, build_explanations

            files = ExplanationFiles(
                options.audio,
                tuple(options.train),
                tuple(options.validation),
                tuple(options.test),
                options.exclude,
                options.rate,
            )
            by = verbs_tables.reader_of(options)
            verbs_tables.say(build_explanations(files, options.out, by=by), options)
        case "missing":
            from adiff_jax.data.labelled import LabelledClips, missing_names
            from adiff_jax.experiment import load_experiment
            from adiff_jax.storage import write_below

            experiment = load_experiment(options.config)
            scored = (split.source for split in experiment.data.test)
            used = (experiment.data.train, experiment.data.validation, *scored)
            listed = [of for of in used if isinstance(of, LabelledClips)]
            names = dict.fromkeys(name for of in listed for name in missing_names(of))
            write_below(options.out, "".join(f"{name}\n" for name in names))
            print(f"{len(names)} clips of {len(listed)} tables are not there: see {options.out}")
        case "recipes":
            from adiff_jax.data.sources import write_recipe_files
            from adiff_jax.data.synth.fixed_sets import ESC10_SETS
            from adiff_jax.data.synth.layouts import label_of

            folds = tuple(sorted(set(options.folds or _only_fold(options))))
            changed = {"folds": folds, "subset": options.subset}
            if options.backgrounds:
                changed["backgrounds"] = tuple(map(label_of, options.backgrounds))
            sets = [dataclasses.replace(fixed, **changed) for fixed in ESC10_SETS]
            prefix = f"fold{'-'.join(map(str, folds))}_"
            for path in write_recipe_files(options.out, sets, options.folder, prefix):
                print(path)
        case "synth":
            from tqdm import tqdm

            from adiff_jax.data.export import write_pairs
            from adiff_jax.opened import open_data

            source = open_data(_config(options, options.split))
            write_pairs(source, options.out, options.format, tqdm)
            print(f"wrote {len(source)} examples to {options.out}")
        case "build":
            from adiff_jax.data.builders.tables import build_tables
            from adiff_jax.experiment_json import source_json
            from adiff_jax.opened import open_data

            splits = dict.fromkeys(options.splits or ["train"])
            configs = {split: _config(options, split) for split in splits}
            sources = {split: open_data(config) for split, config in configs.items()}
            made_of = {split: source_json(config) for split, config in configs.items()}
            by = verbs_tables.shard_of(options)
            built = build_tables(sources, options.out, by=by, made_of=made_of)
            verbs_tables.say(built, options)


def _only_fold(options: argparse.Namespace) -> tuple[int, ...]:
    """The fold of a folder that has one; class folders without ESC's names do."""
    from adiff_jax.data.synth.layouts import folds_of

    folds = folds_of(options.folder, options.subset == "esc10")
    if len(folds) > 1:
        raise ValueError(
            f"{options.folder} has the folds {', '.join(map(str, folds))}: say with --folds which "
            "to draw from"
        )
    return folds


def _config(options: argparse.Namespace, split: str) -> "DataConfig":
    """The source of a split of a config file as its configuration, shortened if wanted."""
    from adiff_jax.data.sources import Explanations
    from adiff_jax.experiment import load_experiment

    experiment = load_experiment(options.config)
    config: Any = experiment.source(split)
    sized = config.pairs if isinstance(config, Explanations) else config
    if options.size is not None:
        if options.size < 1:
            raise ValueError(f"--size is {options.size}: say at least 1")
        if not hasattr(sized, "size"):
            raise ValueError(f"--size: {type(sized).__name__} has a size of its own")
        shortened = dataclasses.replace(sized, size=options.size)
        config = shortened if sized is config else dataclasses.replace(config, pairs=shortened)
    elif (pairs := getattr(sized, "size", 0)) > MOST_PAIRS:
        raise ValueError(f"{pairs:,} pairs of {split} are many to write: say how many with --size")
    return config
