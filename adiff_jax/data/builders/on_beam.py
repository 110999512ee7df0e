"""The work on clips spread by Apache Beam over processes or machines (extra `[beam]`).

Reading and encoding audio is what takes time: workers do that, clip by clip. What the tables list
is read where the command runs. Beam is imported in functions only, tensorflow nowhere.

Workers have this package with its extra, read the audio and write the tables: both lie where all of
them see them under one path. Results that the command needs come back through small JSON files
beside the tables, since a runner hands nothing back.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from etils import epath

from adiff_jax.data.builders.clip_files import Published, unusable_clips
from adiff_jax.data.builders.table_rows import Place, Row, clip_row
from adiff_jax.data.schema import Recurring


class BeamError(RuntimeError):
    """What went wrong in a worker, or with the runner."""


@dataclass(frozen=True)
class BeamRunner:
    """The Beam runner called `name`, with options as Beam's command line has them, but without the
    dashes: "direct_num_workers=4"."""

    name: str
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option in self.options:
            if option.startswith("-"):
                raise ValueError(f"the Beam option {option!r}: write it without the dashes")
            if option.partition("=")[0] == "runner":
                raise ValueError(f"the Beam option {option!r}: name the runner by itself")

    @contextmanager
    def running(self) -> Iterator[Any]:
        """Beam's `PipelineOptions`, for pipelines that run inside.

        Errors: ImportError without apache-beam, ValueError for a runner that Beam does not know,
        BeamError for what fails in a pipeline.
        """
        beam = _apache_beam()
        beam.runners.create_runner(self.name)
        pipeline_options = beam.options.pipeline_options
        options = pipeline_options.PipelineOptions([f"--{option}" for option in self.options])
        # Beam reads annotations, and fails on protocols. TFDS turns its check of types off as well.
        options.view_as(pipeline_options.TypeOptions).pipeline_type_check = False
        try:
            yield options
        except RuntimeError as error:
            raise BeamError(_last_line(str(error))) from error


def numbered_rows(source: Recurring, places: Sequence[Place], digests: epath.Path) -> Any:
    """A transform that makes the rows of the clips at `places`, each with its number.

    TFDS's writer sorts them by these. The SHA-256 of each goes to the file `digests`, as
    [number, name, SHA-256].
    """
    beam = _apache_beam()

    @beam.ptransform_fn
    def transform(pipeline: Any) -> Any:
        rows = (
            pipeline
            | beam.Create(list(enumerate(places)))
            | beam.Reshuffle()  # without it, one worker may be given all of them
            | beam.Map(_numbered_row, source)
        )
        _gather(rows | "Digests" >> beam.Map(_digest), digests)
        return rows

    return transform()


def unusable_on_beam(
    runner: BeamRunner, sources: Mapping[str, Published], out: epath.Path
) -> dict[str, dict[str, str]]:
    """As `unusable_clips`, by split: the clips that are missing, broken or silent, and why.

    A file is written below the folder `out`, and removed. Errors: as `BeamRunner.running`.
    """
    beam = _apache_beam()
    clips = [(split, name) for split, source in sources.items() for name in source.clips]
    file = out / "beam-unusable.json"
    with runner.running() as options, beam.Pipeline(runner.name, options=options) as pipeline:
        out.mkdir(parents=True, exist_ok=True)
        problems = (
            pipeline
            | beam.Create(clips)
            | beam.Reshuffle()
            | beam.FlatMap(_problems, dict(sources))
        )
        _gather(problems, file)
    found = {(split, name): why for split, name, why in take_gathered(file)}
    return {
        split: {name: found[split, name] for name in source.clips if (split, name) in found}
        for split, source in sources.items()
    }


def take_gathered(file: epath.Path) -> list[list[Any]]:
    """What a pipeline gathered in `file`, sorted, which is removed."""
    items = json.loads(file.read_text())
    file.unlink()
    return sorted(items)


def _gather(items: Any, file: epath.Path) -> None:
    """Write all `items` of a pipeline into one file, of JSON."""
    beam = _apache_beam()
    _ = items | beam.combiners.ToList() | beam.Map(_write_json, str(file))


def _write_json(items: list[Any], file: str) -> None:
    epath.Path(file).write_text(json.dumps(items))


def _numbered_row(numbered: tuple[int, Place], source: Recurring) -> tuple[int, Row]:
    number, place = numbered
    return number, clip_row(source, place)


def _digest(numbered: tuple[int, Row]) -> tuple[int, str, str]:
    number, row = numbered
    return number, row["name"], row["sha256"]


def _problems(
    clip: tuple[str, str], sources: Mapping[str, Published]
) -> list[tuple[str, str, str]]:
    split, name = clip
    return [(split, name, why) for why in unusable_clips((name,), sources[split].wave).values()]


def _last_line(traceback: str) -> str:
    """The error itself, of a worker's traceback: "AudioError: a.wav is empty"."""
    last = [line for line in traceback.splitlines() if line.strip()][-1]
    return last.partition(" [while running")[0]


def _apache_beam() -> Any:
    try:
        import apache_beam
        import apache_beam.options.pipeline_options
    except ImportError as error:
        raise ImportError(
            "apache-beam is not installed. It wants an environment of its own, since it needs "
            "older versions of some packages: `make beam` makes one in .venv-beam, with the extra "
            "[beam]; run this command there"
        ) from error
    return apache_beam
