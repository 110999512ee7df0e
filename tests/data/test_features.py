"""A feature cache remembers all that scoring needs of an example."""

import json
from pathlib import Path

import numpy as np
import pytest

from adiff_jax.data.features import CachedPairs, CachedSource, write_features
from adiff_jax.data.schema import Source
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.synth.library import Procedural

SIZE = 6


@pytest.fixture
def pairs() -> Source:
    made = Procedural(recordings_per_class=2)
    return open_source(SynthPairs(made, size=SIZE, rate=8_000, tier=1))


@pytest.fixture
def path(pairs: Source, tmp_path: Path) -> str:
    """The folder of a cache of `pairs`."""
    arrays = {
        "valid": np.ones(SIZE, bool),
        "example_id": np.arange(SIZE),
        "scene_id": np.arange(SIZE),
    }
    batch = (arrays, np.zeros((SIZE, 2, 1, 3), np.float32), np.ones((SIZE, 2), np.int64))
    write_features(str(tmp_path / "cache"), pairs, [batch], {})
    return str(tmp_path / "cache")


def test_truths_of_a_cache_are_those_of_its_source(pairs: Source, path: str) -> None:
    cached = CachedSource(CachedPairs(path))
    for index in range(SIZE):
        truth = pairs.truth(index)
        assert cached.truth(index) == truth
        assert truth.heard is not None and cached[index].heard == truth.heard


def test_a_cache_that_does_not_say_what_is_heard_is_refused(path: str) -> None:
    file = Path(path, "pairs.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        del row["truth"]["heard"], row["truth"]["backgrounds"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match="differs in backgrounds, heard: remove the cache"):
        CachedSource(CachedPairs(path)).truth(0)
