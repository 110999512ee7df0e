"""Cached encoder features of pairs, or of single clips: written once, read at memory speed, audio
left behind.

A directory holds `frames.npy` [n c f d] float16, c clips each, `pairs.jsonl`, one example a line,
and `about.json`, which says what the features were made of. They are written into a directory of
the writer's own beside it, `NAME.partial-...`, which takes the name when it is whole: jobs that
want the same cache at the same time do not write into each other's, and what was interrupted is
never taken for finished. A bucket cannot rename a directory in one step: there the files are
copied when all of them are written, `about.json` at the end. Clips must fill their window: every
frame is valid.
"""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from numpy.lib.format import open_memmap

from adiff_jax.data.records import from_row, to_row
from adiff_jax.data.schema import Arrays, Example, Source, Truth
from adiff_jax.storage import is_remote, located, mappable, upload

ABOUT = "about.json"
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class CachedPairs:
    """The features in a directory, local or in a bucket, written by `write_features`."""

    path: str


class CachedSource:
    """Examples without audio, `Example.features` in its place. A `Source`."""

    def __init__(self, config: CachedPairs) -> None:
        self.config = config
        about = read_about(config.path)
        if about is None:
            raise ValueError(
                f"{config.path} holds no finished feature cache; `adiff ablate GRID` writes the "
                "one that its cells need"
            )
        self.about = about

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        truth, scene = self._rows[index]
        frames = self._frames[index].astype(np.float32)
        return Example(
            id=truth.id,
            waves=(),
            rate=0,
            captions=truth.references,
            edits=truth.edits,
            recordings=truth.recordings,
            prompt=truth.prompt,
            tier=truth.tier,
            heard=truth.heard,
            backgrounds=truth.backgrounds,
            scene=scene,
            features=tuple(frames),
        )

    def truth(self, index: int) -> Truth:
        return self._rows[index][0]

    def texts(self) -> Iterator[str]:
        yield from self.about["texts"]

    @property
    def _folder(self) -> epath.Path:
        return located(self.config.path)

    @cached_property
    def _frames(self) -> np.ndarray:
        return np.load(mappable(self._folder / "frames.npy"), mmap_mode="r")

    @cached_property
    def _rows(self) -> list[tuple[Truth, str]]:
        lines = (self._folder / "pairs.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [(from_row(Truth, row.get("truth", {})), row["scene"]) for row in rows]

    def __getstate__(self) -> dict[str, Any]:
        # A worker maps the files itself.
        return {"config": self.config, "about": self.about}


def read_about(path: str) -> dict[str, Any] | None:
    """What a finished cache says of itself; None where there is none.

    Raises ValueError for what cannot be read.
    """
    file = located(path) / ABOUT
    try:
        return dict(json.loads(file.read_text())) if file.exists() else None
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{file} is damaged ({error}): remove {path} and make the cache again"
        ) from error


def write_features(
    path: str,
    source: Source,
    batches: Iterable[tuple[Arrays, np.ndarray, np.ndarray]],
    made_of: Mapping[str, Any],
) -> None:
    """Write the features of a whole source; `path` appears when they are whole.

    `batches` yields (loader batch, frames [b c f d], valid frames [b c]) in the order of the
    source; rows that are not valid are skipped. `made_of` identifies encoder and source. A cache
    that another writer finished meanwhile stays, and this one is dropped: read what `path` is
    made of afterwards.

    Raises ValueError for a clip that is shorter than its window, for features that float16 cannot
    hold, when examples are missing, and when `path` holds something that is no finished cache;
    nothing is kept then.
    """
    whole = located(path)
    if is_remote(whole):
        with tempfile.TemporaryDirectory(prefix="adiff-") as folder:
            _write(folder, source, batches, made_of)
            if read_about(path) is None:
                upload(Path(folder), whole, last=ABOUT)
        return
    if read_about(path) is None and whole.is_dir() and any(whole.iterdir()):
        raise ValueError(
            f"{path} is there but holds no finished feature cache: remove it, or choose another"
        )
    private = f"{whole}.partial-{uuid.uuid4().hex[:12]}"
    os.makedirs(private)
    try:
        _write(private, source, batches, made_of)
        try:
            os.rename(private, whole)
        except OSError:  # not empty: another writer was first
            if read_about(path) is None:
                raise
    finally:
        shutil.rmtree(private, ignore_errors=True)  # gone already when it took its name


def _write(
    directory: str,
    source: Source,
    batches: Iterable[tuple[Arrays, np.ndarray, np.ndarray]],
    made_of: Mapping[str, Any],
) -> None:
    stored = None
    written = 0
    with open(f"{directory}/pairs.jsonl", "w") as lines:
        for arrays, frames, lengths in batches:
            if stored is None:
                shape = (len(source), *frames.shape[1:])
                stored = open_memmap(f"{directory}/frames.npy", "w+", np.float16, shape)
            for place in np.flatnonzero(arrays["valid"]):
                index = int(arrays["example_id"][place])
                truth = source.truth(index)
                if (lengths[place] < frames.shape[2]).any():
                    raise ValueError(f"{truth.id}: a clip is shorter than the encoder's window")
                if not (np.abs(frames[place]) <= _LARGEST).all():
                    raise ValueError(
                        f"{truth.id}: features reach {np.abs(frames[place]).max():.3g}, but "
                        f"float16 holds finite numbers up to {_LARGEST:.0f}; train the cells on "
                        "audio, without features_from"
                    )
                stored[index] = frames[place]
                scene = f"scene {int(arrays['scene_id'][place])}"
                lines.write(json.dumps({"truth": to_row(truth), "scene": scene}) + "\n")
                written += 1
    if stored is None or written != len(source):
        raise ValueError(f"{written} of {len(source)} examples were encoded; nothing is kept")
    stored.flush()
    about = {**made_of, "texts": list(source.texts())}
    (epath.Path(directory) / ABOUT).write_text(json.dumps(about))
