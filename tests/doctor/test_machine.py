"""What is found of software, devices, clocks and file systems, and what it is held against."""

import importlib.metadata
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath

from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.doctor import devices, job, software, storage
from adiff_jax.doctor.finding import Verdict
from adiff_jax.experiment_json import to_json
from adiff_jax.run import MAY_CHANGE
from tests.quick import options
from tests.top import tiny_run


def test_versions_outside_the_ranges_of_the_package_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranges = ["numpy<1", "nothing-of-this-name>=1", "torch<1 ; extra == 'convert'", "jax>=0.10"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ranges)
    found = software.versions()
    assert found.verdict is Verdict.FAIL
    assert "nothing-of-this-name is not installed" in found.text
    assert f"numpy {np.__version__} is not <1" in found.text
    assert "torch" in found.text and "jax" not in found.text  # an extra that is there counts too


def test_the_versions_that_the_tests_run_with_are_in_their_ranges() -> None:
    found = software.versions()
    assert found.verdict is Verdict.OK and f"jax {jax.__version__}" in found.text


def test_what_the_experiment_needs_and_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    absent = {"gensim", "wandb"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else there(name)
    )
    assert software.extras(None).verdict is not Verdict.FAIL
    words = tiny_run.cl4ac()  # has word_vectors
    assert "gensim is not installed" in software.extras(words).text
    logging = replace(words.train, wandb_project="p")
    logged = software.extras(replace(words, word_vectors=None, train=logging))
    assert logged.verdict is Verdict.FAIL and "wandb_project is 'p'" in logged.text


def test_an_accelerator_that_lies_idle_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert devices.devices(tmp_path).verdict is Verdict.OK
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    found = devices.devices(tmp_path)
    assert found.verdict is Verdict.WARN and "JAX_PLATFORMS, which is 'cpu'" in found.way_out
    monkeypatch.delenv("JAX_PLATFORMS")
    assert "[cuda]" in devices.devices(tmp_path).way_out


def test_memory_is_that_of_the_smallest_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = iter((80, 16))
    several = [
        SimpleNamespace(
            device_kind="chip", memory_stats=lambda: {"bytes_limit": next(limits) * 2**30}
        )
        for _ in range(2)
    ]
    monkeypatch.setattr(jax, "devices", lambda: several)
    monkeypatch.setattr(jax, "local_devices", lambda: several)
    assert devices.devices(tmp_path).text == "2 × chip, 16 GiB each, of which 0 MiB in use"


@pytest.mark.parametrize(("bits", "called"), [(7, "bfloat16"), (10, "TF32"), (23, "float32")])
def test_precision_is_told_from_the_product_itself(
    bits: int, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that rounds the factors to so many bits, whatever precision is asked for."""

    def rounded(x: np.ndarray) -> np.ndarray:
        scale = 2.0 ** (np.floor(np.log2(np.abs(x))) - bits)
        return (np.round(x / scale) * scale).astype(np.float32)

    def product(left: np.ndarray, right: np.ndarray, precision: Any) -> np.ndarray:
        return rounded(left) @ rounded(right)

    monkeypatch.setattr("jax.numpy.matmul", product)
    found = devices.precision()
    assert f"as exact as {called} " in found.text
    assert found.verdict is (Verdict.OK if called == "float32" else Verdict.FAIL)


def test_a_cpu_multiplies_in_float32() -> None:
    assert devices.precision().verdict is Verdict.OK


@pytest.mark.parametrize(
    ("late", "verdict"), [(0.02, Verdict.OK), (5.0, Verdict.WARN), (-120.0, Verdict.FAIL)]
)
def test_clocks_are_held_against_that_of_process_0(late: float, verdict: Verdict) -> None:
    first = [100.0, 101.0, 102.0]
    jittered = [100.0 + late, 101.0 + late + 0.4, 102.0 + late - 0.4]
    found = job.skew([first, [stamp + 0.001 for stamp in first], jittered])
    assert found.verdict is verdict
    if verdict is not Verdict.OK:
        side = "ahead of" if late > 0 else "behind"
        assert f"process 2 is {abs(late):.3f} s {side} process 0" in found.text


def test_what_differs_between_processes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [*rows, rows[0] | {"jax": "0.1", "experiment": "{}"}, *rows]

    monkeypatch.setattr(job, "gather_objects", gather)
    found = job.alike('{"name": "ours"}')
    assert found.verdict is Verdict.FAIL
    assert f"jax: {jax.__version__} in [0, 2], 0.1 in [1]" in found.text
    assert "experiment: another in [0, 2], another in [1]" in found.text
    assert "flax" not in found.text


def test_a_port_where_nobody_listens_fails() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert job.port(address).verdict is Verdict.OK
    found = job.port(address)
    assert found.verdict is Verdict.FAIL and address in found.text


def test_all_devices_answer_with_the_right_sum() -> None:
    found = job.processes()
    assert found.verdict is Verdict.OK and "a sum over 8 device(s)" in found.text


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/vda / ext4 rw 0 0\n"
        "server:/export /home/all\\040of\\040us nfs4 rw 0 0\n"
        "gcs /bucket fuse.gcsfuse rw 0 0\n"
        "none /dev/shm tmpfs rw 0 0\n"
    )
    for path, kind in {
        "/var/runs": "ext4",
        "/home/all of us/runs": "nfs4 (shared)",
        "/bucket/x": "fuse.gcsfuse (shared)",
        "/dev/shm/x": "tmpfs",
    }.items():
        assert storage.file_system(epath.Path(path), mounts) == kind
    assert "object store" in storage.file_system(epath.Path("gs://bucket/runs"), mounts)


def test_the_directory_of_a_run_is_probed_and_left_as_it_was(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path / "run")
    found = storage.run_directory(run, None, 0)
    assert found.verdict is Verdict.OK and "(to be made)" in found.text
    assert list(tmp_path.iterdir()) == []
    full = storage.run_directory(run, None, 2**70)
    assert full.verdict is Verdict.FAIL and "make room" in full.way_out


def test_a_directory_that_cannot_be_written_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, text: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(epath.Path(tmp_path)), "write_text", refuse)
    found = storage.run_directory(RunDirectory.at(tmp_path), None, 0)
    assert found.verdict is Verdict.FAIL and "Permission denied" in found.text


def test_the_directory_of_another_experiment_fails(tmp_path: Path) -> None:
    run = RunDirectory.at(tmp_path / "run")
    ours = tiny_run.tagger()
    run.claim(to_json(ours), MAY_CHANGE)
    (run.path / "predictions").mkdir()
    (run.path / "predictions" / "clips.jsonl").touch()
    assert storage.run_directory(run, ours, 0).verdict is Verdict.OK
    found = storage.run_directory(run, replace(ours, label_smoothing=0.5), 0)
    assert found.verdict is Verdict.FAIL and "label_smoothing" in found.text


def test_the_cache_is_hit_by_the_second_program_like_a_first(tmp_path: Path) -> None:
    from jax.experimental.compilation_cache import compilation_cache

    try:
        with options(jax_compilation_cache_dir=str(tmp_path), jax_enable_compilation_cache=True):
            compilation_cache.reset_cache()
            assert storage.compile_cache(tmp_path).verdict is Verdict.OK
        with options(jax_compilation_cache_dir=str(tmp_path), jax_enable_compilation_cache=False):
            compilation_cache.reset_cache()
            found = storage.compile_cache(tmp_path)
            assert found.verdict is Verdict.WARN and "was not found there" in found.text
        blocked = tmp_path / "file"
        blocked.touch()
        found = storage.compile_cache(blocked)
        assert found.verdict is Verdict.WARN and "cannot be written" in found.text
    finally:
        compilation_cache.reset_cache()


@pytest.mark.parametrize(
    ("hit", "backend", "verdict"),
    [(True, "tpu", Verdict.OK), (False, "tpu", Verdict.WARN), (False, "cpu", Verdict.OK)],
)
def test_another_process_reads_the_programs_of_process_0(
    hit: bool, backend: str, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_comes_from_cache", lambda: hit)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    found = storage.compile_cache(tmp_path)
    assert found.verdict is verdict
    assert ("is not that of process 0" in found.text) == (verdict is Verdict.WARN)
