"""Cached encoder features of pairs: written once, read at memory speed, audio left behind.

A directory holds `frames.npy` [n 2 f d] float16, `pairs.jsonl`, one example a line, and
`about.json`, which says what the features were made of. They are written into a directory of the
writer's own beside it, `NAME.partial-...`, which takes the name when it is whole: jobs that want
the same cache at the same time do not write into each other's, and what was interrupted is never
taken for finished. Clips must fill their window: every frame is valid.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from etils import epath
from numpy.lib.format import open_memmap

from adiff_jax.data.builders.table_source import edits_from_rows, edits_to_rows
from adiff_jax.data.schema import Arrays, Example, Source, Truth

ABOUT = "about.json"
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class CachedPairs:
    """The features in a local directory, written by `write_features`."""

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
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        frames = self._frames[index].astype(np.float32)
        return replace(self._examples[index], features=(frames[0], frames[1]))

    def truth(self, index: int) -> Truth:
        example = self._examples[index]
        return Truth(
            example.id,
            example.captions,
            example.edits,
            example.recordings,
            example.prompt,
            example.tier,
            example.heard,
            example.backgrounds,
        )

    def texts(self) -> Iterator[str]:
        yield from self.about["texts"]

    @cached_property
    def _frames(self) -> np.ndarray:
        return np.load(f"{self.config.path}/frames.npy", mmap_mode="r")

    @cached_property
    def _examples(self) -> list[Example]:
        lines = epath.Path(self.config.path, "pairs.jsonl").read_text().splitlines()
        return [_example(json.loads(line)) for line in lines]

    def __getstate__(self) -> dict[str, Any]:
        # A worker maps the files itself.
        return {"config": self.config, "about": self.about}


def read_about(path: str) -> dict[str, Any] | None:
    """What a finished cache says of itself; None where there is none."""
    file = epath.Path(path) / ABOUT
    return json.loads(file.read_text()) if file.exists() else None


def write_features(
    path: str,
    source: Source,
    batches: Iterable[tuple[Arrays, np.ndarray, np.ndarray]],
    made_of: Mapping[str, Any],
) -> None:
    """Write the features of a whole source; `path` appears when they are whole.

    `batches` yields (loader batch, frames [b 2 f d], valid frames [b 2]) in the order of the
    source; rows that are not valid are skipped. `made_of` identifies encoder and source. A cache
    that another writer finished meanwhile stays, and this one is dropped: read what `path` is
    made of afterwards.

    Raises ValueError for a clip that is shorter than its window, for features that float16 cannot
    hold, when examples are missing, and when `path` holds something that is no finished cache;
    nothing is kept then.
    """
    if read_about(path) is None and os.path.isdir(path) and os.listdir(path):
        raise ValueError(
            f"{path} is there but holds no finished feature cache: remove it, or choose another"
        )
    whole = path.rstrip("/")
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
                lines.write(json.dumps(_line(truth, int(arrays["scene_id"][place]))) + "\n")
                written += 1
    if stored is None or written != len(source):
        raise ValueError(f"{written} of {len(source)} examples were encoded; nothing is kept")
    stored.flush()
    about = {**made_of, "texts": list(source.texts())}
    (epath.Path(directory) / ABOUT).write_text(json.dumps(about))


def _line(truth: Truth, scene: int) -> dict[str, Any]:
    return {
        "id": truth.id,
        "captions": truth.references,
        "edits": edits_to_rows(truth.edits),
        "recordings": truth.recordings,
        "prompt": truth.prompt,
        "tier": truth.tier,
        "heard": truth.heard,
        "backgrounds": truth.backgrounds,
        "scene": f"scene {scene}",
    }


def _example(row: Mapping[str, Any]) -> Example:
    # Caches of earlier versions do not say what is heard.
    heard, backgrounds = row.get("heard"), row.get("backgrounds")
    return Example(
        id=row["id"],
        waves=(),
        rate=0,
        captions=tuple(row["captions"]),
        edits=edits_from_rows(row["edits"]),
        recordings=tuple(row["recordings"]),
        prompt=row["prompt"],
        tier=row["tier"],
        heard=None if heard is None else (tuple(heard[0]), tuple(heard[1])),
        backgrounds=None if backgrounds is None else (backgrounds[0], backgrounds[1]),
        scene=row["scene"],
    )
