"""Writes published data sets as tables, once every clip that they name is known to be usable."""

from collections.abc import Iterable, Mapping

from etils import epath

from adiff_jax.data.builders.clip_files import Published, missing_clips, unusable_clips
from adiff_jax.data.builders.on_beam import BeamRunner, unusable_on_beam
from adiff_jax.data.builders.shards import Shard, ShardReport, Shards, UnusableClips
from adiff_jax.data.builders.table_rows import TableReport
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.storage import located

MISSING = "missing.txt"
"""The list of clips that could not be had, beside the tables that were not built."""


def build_published(
    sources: Mapping[str, Published],
    audio: str,
    excluded: Iterable[str],
    out_dir: epath.PathLike,
    progress: bool = True,
    by: BeamRunner | Shard | None = None,
) -> TableReport | ShardReport:
    """Write the `sources` of the splits, whose clips are in the folder `audio`, as tables.

    Every clip is read once before anything is written, by Beam's workers where it is built by them.
    A shard is the exception: what it cannot read is known when it has read all of its clips, and
    only what could be read is joined. Errors: as `build_tables`; FileNotFoundError for clips that
    cannot be had. These are listed in `out_dir`/missing.txt, with those `excluded` already; those
    of a shard in a file of its own.
    """
    out = located(out_dir)
    unusable: Mapping[str, Mapping[str, str]] = {}
    if isinstance(by, BeamRunner):
        unusable = unusable_on_beam(by, sources, out)
    elif not isinstance(by, Shard) and not Shards(out).begun():
        unusable = {
            split: unusable_clips(source.clips, source.wave, progress)
            for split, source in sources.items()
        }
    if not any(unusable.values()):
        try:
            built = build_tables(sources, out, progress, by)
        except UnusableClips as error:
            unusable = error.problems
        else:
            if isinstance(by, Shard):  # what an earlier attempt could not read is there now
                (out / f"missing-{by}.txt").unlink(missing_ok=True)
            return built
    missing = list(dict.fromkeys(name for found in unusable.values() for name in found))
    if isinstance(by, Shard):
        file = out / f"missing-{by}.txt"
        needed = f"all shards, `cat {out}/missing-*.txt`, list what --exclude then needs"
    else:
        file = out / MISSING
        needed = f"{file} lists what --exclude then needs"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*sorted(excluded), *missing]) + "\n")
    raise FileNotFoundError(
        "\n".join(
            missing_clips(split, audio, found, sources[split].coverage_without(found))
            for split, found in unusable.items()
            if found
        )
        + f"\nAdd them, or do without them: {needed}"
    )
