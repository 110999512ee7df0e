"""Tables, features and predictions in a bucket hold what they hold on a disk."""

from pathlib import Path

import numpy as np
import pytest

from adiff_jax.data.builders.table_source import Table, TableSource
from adiff_jax.data.builders.tables import build_tables
from adiff_jax.data.embedding_files import EmbeddingFiles, KeptSource, StoredClip
from adiff_jax.data.features import CachedPairs, CachedSource, write_features
from adiff_jax.data.sources import open_source
from adiff_jax.evaluate.predictions import Prediction, read_predictions, write_predictions
from tests.gcs.fake_server import Storage
from tests.top import tiny_run


def test_tables_are_written_to_a_bucket_and_read_when_copied(storage: Storage, tmp_path: Path):
    source = open_source(tiny_run.pairs("test", 3))
    build_tables({"test": source}, "gs://bucket/tables/tiny", progress=False)
    with pytest.raises(FileExistsError, match="gs://bucket/tables/tiny/clips exists"):
        build_tables({"test": source}, "gs://bucket/tables/tiny", progress=False)
    with pytest.raises(ValueError, match="gcloud storage cp -r gs://bucket/tables/tiny"):
        len(TableSource(Table("gs://bucket/tables/tiny", "test")))
    for name in storage.names("bucket"):
        if name.startswith("tables/"):
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(storage.buckets["bucket"][name].content)
    copied = TableSource(Table(str(tmp_path / "tables" / "tiny"), "test"))
    assert len(copied) == 3
    for index in range(3):
        assert copied[index].captions == source[index].captions
        for ours, theirs in zip(copied[index].waves, source[index].waves, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2.0**-15)


def test_features_in_a_bucket_are_those_on_a_disk(storage: Storage, tmp_path: Path):
    source = open_source(tiny_run.pairs("test", 3))
    frames = np.random.default_rng(0).normal(size=(3, 2, 5, 4)).astype(np.float32)
    arrays = {
        "valid": np.ones(3, bool),
        "example_id": np.arange(3, dtype=np.int32),
        "scene_id": np.arange(3, dtype=np.int32),
    }
    for path in ("gs://bucket/features/test", str(tmp_path / "test")):
        with pytest.raises(ValueError, match="no finished feature cache"):
            CachedSource(CachedPairs(path))
        write_features(path, source, [(arrays, frames, np.full((3, 2), 5))], {"encoder": "x"})
    remote = CachedSource(CachedPairs("gs://bucket/features/test"))
    on_disk = CachedSource(CachedPairs(str(tmp_path / "test")))
    assert remote.about == on_disk.about
    for index in range(3):
        assert remote.truth(index) == on_disk.truth(index)
        np.testing.assert_array_equal(remote[index].features, on_disk[index].features)
        np.testing.assert_array_equal(remote[index].features, frames[index].astype(np.float16))


def test_embeddings_in_a_bucket_are_claimed_once_and_read_back(storage: Storage):
    first = EmbeddingFiles.at("gs://bucket/embeddings")
    first.claim({"shards": 1})
    EmbeddingFiles.at("gs://bucket/embeddings").claim({"shards": 9})
    assert (first.about() or {})["shards"] == 1
    kept = KeptSource(['{"clips": [0]}'], ["rain falls"])
    assert not first.has_examples()
    first.write_examples(kept)
    assert first.has_examples() and first.examples() == kept
    assert not first.has_shard(0, 1)
    clips = [StoredClip("rain.wav", "00", crops=2)]
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    first.write_shard(0, 1, clips, rows)
    assert first.has_shard(0, 1) and first.shard_clips(0, 1) == clips
    np.testing.assert_array_equal(first.shard_embeddings(0, 1), rows)
    first.drop_shard(0, 1)
    assert not first.has_shard(0, 1)


def test_a_bucket_with_something_else_is_no_cache(storage: Storage):
    storage.put("bucket", "else/notes.txt", b"mine")
    with pytest.raises(ValueError, match="holds something else"):
        EmbeddingFiles.at("gs://bucket/else").claim({"shards": 1})


def test_predictions_come_back(storage: Storage):
    rows = [Prediction("1", "the rain is louder \u2028"), Prediction("2", "none", (3, 4), -0.5)]
    write_predictions("gs://bucket/predictions/test.jsonl", reversed(rows))
    assert read_predictions("gs://bucket/predictions/test.jsonl") == rows
