"""Writes published data sets as tables, once every clip that they name is known to be usable."""

from collections.abc import Iterable, Mapping

from etils import epath

from adiff_jax.data.builders.clip_files import Published, missing_clips, unusable_clips
from adiff_jax.data.builders.on_beam import BeamRunner, unusable_on_beam
from adiff_jax.data.builders.table_rows import TableReport
from adiff_jax.data.builders.tables import build_tables

MISSING = "missing.txt"
"""The list of clips that could not be had, beside the tables that were not built."""


def build_published(
    sources: Mapping[str, Published],
    audio: str,
    excluded: Iterable[str],
    out_dir: epath.PathLike,
    progress: bool = True,
    beam: BeamRunner | None = None,
) -> TableReport:
    """Write the `sources` of the splits, whose clips are in the folder `audio`, as tables.

    Every clip is read once before anything is written, by workers with `beam`. Errors: as
    `build_tables`; FileNotFoundError for clips that cannot be had. These are listed in
    `out_dir`/missing.txt, with those `excluded` already.
    """
    out = epath.Path(out_dir)
    if beam:
        unusable = unusable_on_beam(beam, sources, out)
    else:
        unusable = {
            split: unusable_clips(source.clips, source.wave, progress)
            for split, source in sources.items()
        }
    if missing := list(dict.fromkeys(name for found in unusable.values() for name in found)):
        file = out / MISSING
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([*sorted(excluded), *missing]) + "\n")
        raise FileNotFoundError(
            "\n".join(
                missing_clips(split, audio, found, sources[split].coverage_without(found))
                for split, found in unusable.items()
                if found
            )
            + f"\nAdd them, or do without them: {file} lists what --exclude then needs"
        )
    return build_tables(sources, out, progress, beam)
