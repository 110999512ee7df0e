"""The command line on a bucket: train, resume, evaluate, explain and embed, nothing on a disk."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from adiff_jax import cli, run
from adiff_jax.audio.io import write_audio
from adiff_jax.data.sources import open_source
from adiff_jax.embed import Embed, embed
from adiff_jax.opened import open_data
from adiff_jax.run import Trained
from adiff_jax.storage import located, upload
from tests.gcs.fake_server import Storage
from tests.top import test_embed, tiny_run

CONFIG = "from tests.top import tiny_run\n\nget_config = tiny_run.tagger\n"


def leaves(trained: Trained) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(dict(trained.variables))]


@pytest.mark.slow
def test_a_run_in_a_bucket_is_trained_resumed_and_evaluated(
    storage: Storage,
    tagger_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """What a kill left half saved at step 2 is made again; the run is that on a disk."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.py").write_text(CONFIG)
    where = "gs://bucket/runs/tagger"
    cli.main(["train", "config.py", "--workdir", where])
    (located(where) / "checkpoints" / "2" / "commit_success.txt").unlink()
    cli.main(["train", "config.py", "--workdir", where])

    lines = [
        json.loads(line) for line in (located(where) / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2]
    # The same best step, and the same weights, as on a disk without a kill.
    in_bucket, on_disk = run.load_trained(where), run.load_trained(tagger_run)
    assert in_bucket.step == on_disk.step
    for ours, theirs in zip(leaves(in_bucket), leaves(on_disk), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    cli.main(["evaluate", where])
    scores = json.loads((located(where) / "metrics.json").read_text())
    assert 0 <= scores["tagging"]["mAP"] <= 1
    assert '"mAP"' in capsys.readouterr().out
    found = {path.name for path in located(where).iterdir()}
    assert {"classes.json", "curves.png", "environment.json", "tensorboard"} <= found
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]


def test_a_run_in_a_bucket_explains_clips_in_a_bucket(
    storage: Storage, adc_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    upload(adc_run, located("gs://bucket/runs/adc"))
    example = open_source(tiny_run.pairs("test", 1))[0]
    for folder in (str(tmp_path), "gs://bucket/clips"):
        for name, wave in zip(("a.wav", "b.wav"), example.waves, strict=True):
            write_audio(f"{folder}/{name}", wave, example.rate)
    said = []
    for trained, folder in (
        (str(adc_run), str(tmp_path)),
        ("gs://bucket/runs/adc", "gs://bucket/clips"),
    ):
        cli.main(["explain", trained, f"{folder}/a.wav", f"{folder}/b.wav"])
        said.append(capsys.readouterr().out)
    assert said[0] and said[0] == said[1]


def test_embeddings_in_a_bucket_are_those_on_a_disk(
    storage: Storage, tagger_run: Path, tmp_path: Path
):
    on_disk = tmp_path / "embeddings"
    experiment, how = test_embed.adiff(tagger_run), Embed(crops=2, shards=2)
    embed(experiment, "train", tagger_run, str(on_disk), how)
    where = "gs://bucket/embedded"
    assert embed(experiment, "train", tagger_run, where, how).encoded > 0
    found = {path.name: path.read_bytes() for path in located(where).iterdir()}
    assert found == {path.name: path.read_bytes() for path in on_disk.iterdir()}
    again = embed(experiment, "train", tagger_run, where, how)
    assert again.encoded == 0 and again.compared == again.clips
    example = open_source(experiment.data.train)[0]
    cached = open_data(test_embed.on(experiment, where).data.train)[0]
    assert cached.id == example.id and len(cached.embeddings) == 2
