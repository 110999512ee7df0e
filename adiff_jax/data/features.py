"""Cached encoder features of pairs: written once, read at memory speed, audio left behind.

A directory holds `frames.npy` [n 2 f d] float16 and `pairs.jsonl`, one example a line; `about.json`
is written last and says what the features were made of, so that a cache that is half written or
was made by another encoder is refused. Clips must fill their window: every frame is valid.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from etils import epath
from numpy.lib.format import open_memmap

from adiff_jax.data.builders.table_source import edits_from_json, edits_to_json
from adiff_jax.data.schema import Arrays, Example, Source, Truth

ABOUT = "about.json"


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
    """Write the features of a whole source.

    `batches` yields (loader batch, frames [b 2 f d], valid frames [b 2]) in the order of the
    source; rows that are not valid are skipped. `made_of` identifies encoder and source.

    Raises ValueError for a clip that is shorter than its window, or when examples are missing.
    """
    directory = epath.Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ABOUT).unlink(missing_ok=True)
    stored = None
    written = 0
    with (directory / "pairs.jsonl").open("w") as lines:
        for arrays, frames, lengths in batches:
            if stored is None:
                shape = (len(source), *frames.shape[1:])
                stored = open_memmap(f"{path}/frames.npy", "w+", np.float16, shape)
            for place in np.flatnonzero(arrays["valid"]):
                index = int(arrays["example_id"][place])
                truth = source.truth(index)
                if (lengths[place] < frames.shape[2]).any():
                    raise ValueError(f"{truth.id}: a clip is shorter than the encoder's window")
                stored[index] = frames[place]
                lines.write(json.dumps(_line(truth, int(arrays["scene_id"][place]))) + "\n")
                written += 1
    if stored is None or written != len(source):
        raise ValueError(f"{written} of {len(source)} examples were encoded; nothing is kept")
    stored.flush()
    about = {**made_of, "texts": list(source.texts())}
    (directory / ABOUT).write_text(json.dumps(about))


def _line(truth: Truth, scene: int) -> dict[str, Any]:
    return {
        "id": truth.id,
        "captions": truth.references,
        "edits": edits_to_json(truth.edits),
        "recordings": truth.recordings,
        "prompt": truth.prompt,
        "tier": truth.tier,
        "scene": f"scene {scene}",
    }


def _example(row: Mapping[str, Any]) -> Example:
    return Example(
        id=row["id"],
        waves=(),
        rate=0,
        captions=tuple(row["captions"]),
        edits=edits_from_json(row["edits"]),
        recordings=tuple(row["recordings"]),
        prompt=row["prompt"],
        tier=row["tier"],
        scene=row["scene"],
    )
