"""Paths in buckets and on disks, and files that are written whole, once, or last."""

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from etils import epath

from adiff_jax import storage as places
from adiff_jax.storage import local, located, mappable, upload, write_first, write_whole
from adiff_jax.train.metrics_log import JsonLines, TensorBoard
from tests.gcs.fake_server import Storage


def test_local_paths_are_absolute_and_those_in_buckets_stay_as_they_are(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert str(located("runs/a")) == str(tmp_path / "runs" / "a")
    assert str(located("~/a")) == str(tmp_path / "home" / "a")
    assert str(located("gs://bucket/runs/a/")) == "gs://bucket/runs/a"
    assert str(located(located("gs://bucket/a") / "b")) == "gs://bucket/a/b"


@pytest.mark.parametrize(
    ("path", "message"),
    [("gs:/bucket/a", "two slashes"), ("s3://bucket/a", "local or begin with gs://")],
)
def test_other_schemes_and_lost_slashes_are_refused(path: str, message: str):
    with pytest.raises(ValueError, match=message):
        located(path)


def test_what_lies_on_disks_only_says_how_to_get_there():
    with pytest.raises(ValueError, match="gcloud storage cp"):
        local("gs://bucket/weights.ckpt")


def test_without_gcsfs_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    places._reach_buckets.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'adiff_jax\[gcs\]'"):
        located("gs://bucket/a")


def test_what_others_write_after_a_listing_is_seen(storage: Storage):
    folder = located("gs://bucket/seen")
    write_whole(folder / "mine", "1")
    assert [path.name for path in folder.iterdir()] == ["mine"]
    storage.put("bucket", "seen/theirs", b"2")
    assert (folder / "theirs").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["mine", "theirs"]


@pytest.mark.parametrize("bucket", [False, True])
def test_of_many_writers_one_is_first_and_its_text_stays(
    bucket: bool, storage: Storage, tmp_path: Path
):
    path = located("gs://bucket/first/about.json" if bucket else tmp_path / "about.json")
    texts = [f"writer {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as several:
        first = list(several.map(lambda text: write_first(path, text), texts))
    assert sum(first) == 1
    assert path.read_text() == texts[first.index(True)]
    assert [file.name for file in path.parent.iterdir()] == ["about.json"]


def test_a_folder_is_copied_with_the_file_that_vouches_for_it_last(
    storage: Storage, tmp_path: Path
):
    for name in ("about.json", "below/frames", "rows"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() * 1000)
    upload(tmp_path, located("gs://bucket/copied"), last="about.json")
    arrived = sorted(
        (stored.generation, name)
        for name, stored in storage.buckets["bucket"].items()
        if name.startswith("copied/")
    )
    assert [name for _, name in arrived] == [
        "copied/below/frames",
        "copied/rows",
        "copied/about.json",
    ]
    mapped = mappable(located("gs://bucket/copied/below/frames"))
    assert mapped.read_bytes() == b"below/frames" * 1000
    assert mappable(located(tmp_path / "rows")) == tmp_path / "rows"


def test_lines_that_a_bucket_refused_are_written_later_and_a_resumed_log_is_cut(
    storage: Storage, capsys: pytest.CaptureFixture[str]
):
    path = located("gs://later/run/metrics.jsonl")
    lines = JsonLines(path, None)
    lines.write({"step": 1, "kind": "train"})
    assert "metrics.jsonl not written" in capsys.readouterr().err
    storage.buckets["later"] = {}
    lines.write({"step": 2, "kind": "train"})
    lines.write({"step": 3, "kind": "train"})
    JsonLines(path, 2).write({"step": 3, "kind": "train", "again": 1})
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in found] == [1, 2, 3]
    assert found[-1]["again"] == 1


def test_curves_reach_the_bucket_when_the_log_is_closed(storage: Storage):
    folder = located("gs://bucket/curves/tensorboard")
    curves = TensorBoard(folder, None)
    curves.write(1, {"train/first": 1.0})
    curves.write(2, {"train/second": 2.0})
    curves.close()
    (file,) = folder.iterdir()
    assert isinstance(file, epath.Path)
    assert file.name.startswith("run-") and ".tfevents." in file.name
    content = file.read_bytes()
    assert b"train/first" in content and b"train/second" in content
