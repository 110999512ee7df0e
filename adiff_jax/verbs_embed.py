"""`adiff data embed`: its arguments, what it does, what it prints."""

import argparse
from typing import Any

from adiff_jax import verbs_job


def add(actions: Any) -> None:
    """Add the action to the subparsers of `adiff data`."""
    summary = "encode every clip of a config's pairs once, with the frozen encoder of a run"
    parser = actions.add_parser(
        "embed",
        help=summary,
        description=f"{summary}. Goes on where it stopped; once all is there, it compares the "
        "clips with their audio.",
        epilog="Examples:\n"
        "  adiff data embed configs/adiff_stage2.py --encoder runs/tagger --out cache/train "
        "--crops 4\n"
        "  adiff data embed ... --shard 3/16    one shard, from an array job's index\n"
        'Then, in a config: data=replace(data, train=CachedEmbeddings("cache/train"))',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=embed)
    parser.add_argument("config", help="a config file")
    parser.add_argument(
        "--encoder", required=True, metavar="RUN", help="run directory of a tagger or of ADIFF"
    )
    parser.add_argument("--out", required=True, help="directory of the embeddings")
    parser.add_argument("--split", default="train", help="train, validation or a test split")
    parser.add_argument("--size", type=int, help="only the first so many pairs of made ones")
    parser.add_argument(
        "--crops",
        type=int,
        default=1,
        metavar="K",
        help="windows of a clip that is longer than one: the centre and K - 1 more (default 1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the other windows (default 0)")
    parser.add_argument(
        "--shards", type=int, metavar="N", help="files to make (default one a thousand clips)"
    )
    parser.add_argument("--shard", default="", metavar="i/N", help="the i-th of N, i from 0")
    parser.add_argument(
        "--refresh", action="store_true", help="encode again the shards of clips that have changed"
    )
    verbs_job.add_arguments(parser)


def embed(options: argparse.Namespace, rest: list[str]) -> None:
    """Encode the clips of a split, or compare them with what was encoded."""
    from adiff_jax.embed import Embed, embed
    from adiff_jax.experiment import load_experiment
    from adiff_jax.train.compilation import enable_compile_cache

    enable_compile_cache()
    how = Embed(
        crops=options.crops,
        seed=options.seed,
        shards=options.shards,
        shard=options.shard,
        refresh=options.refresh,
        size=options.size,
    )
    experiment = load_experiment(options.config)
    print(embed(experiment, options.split, options.encoder, options.out, how))
