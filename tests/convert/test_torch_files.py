"""Files in and out: every form gives the same entries; what is broken or malicious is refused."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import torch

from adiff_jax.convert.engine import ConversionError, Entry, Sidecar, StateDict
from adiff_jax.convert.torch_files import (
    SIDECAR,
    read_sidecar,
    read_state,
    write_sidecar,
    write_state,
)
from tests.convert.states import State, assert_same


def entries() -> State:
    rng = np.random.default_rng(0)
    return {
        "z.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "a.half": rng.standard_normal(5).astype(np.float16),
        "a.brain": rng.standard_normal((2, 2)).astype(jnp.bfloat16),
        "mask": np.tri(3, dtype=bool)[None],
        "count": np.array(7, np.int64),
    }


@pytest.mark.parametrize("ending", ["ckpt", "pt", "pth", "bin"])
def test_pickled_files_come_back_in_order(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"file.{ending}"
    write_state(path, StateDict(entries()))
    assert_same(dict(read_state(path).entries), entries())
    loaded = torch.load(path, weights_only=True)
    assert loaded["a.brain"].dtype == torch.bfloat16 and loaded["count"].shape == ()


def test_safetensors_come_back_and_torch_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_state(path, StateDict(entries()))
    found = read_state(path).entries
    assert_same({name: found[name] for name in entries()}, entries())
    from safetensors.torch import load_file

    assert torch.equal(load_file(path)["z.weight"], torch.from_numpy(entries()["z.weight"]))


def test_the_older_file_form_is_read(tmp_path: Path) -> None:
    path, tensor = tmp_path / "old.pt", torch.arange(6.0).reshape(2, 3)
    torch.save({"w": tensor}, path, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_state(path).entries["w"], tensor.numpy())


def test_a_transposed_or_shared_tensor_keeps_its_values(tmp_path: Path) -> None:
    path, base = tmp_path / "views.pt", torch.arange(6.0).reshape(2, 3)
    torch.save({"whole": base, "turned": base.T, "part": base[1, 1:]}, path)
    found = read_state(path).entries
    np.testing.assert_array_equal(found["turned"], base.numpy().T)
    np.testing.assert_array_equal(found["part"], [4, 5])


def test_a_container_is_opened_where_one_is_known_and_restored(tmp_path: Path) -> None:
    path, again = tmp_path / "nested.pth", tmp_path / "again.pth"
    torch.save({"iteration": 3, "model": {"w": torch.ones(2)}}, path)
    with pytest.raises(
        ConversionError, match=r"'iteration' is of type int.*\n.*'model' is of type dict"
    ):
        read_state(path)
    state = read_state(path, ("state_dict", "model"))
    assert state.container == "model" and list(state.entries) == ["w"]
    write_state(again, state)
    assert torch.equal(torch.load(again, weights_only=True)["model"]["w"], torch.ones(2))


class Malicious:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("bare", [False, True])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, bare: bool) -> None:
    target, path = tmp_path / "run", tmp_path / "model.ckpt"
    loaded = {"w": torch.ones(2), "x": Malicious(target)}
    if bare:
        path.write_bytes(pickle.dumps({"x": Malicious(target)}, protocol=2))
    else:
        torch.save(loaded, path)
    with pytest.raises(ConversionError, match=r"names posix.system.*refused, nothing was run"):
        read_state(path)
    assert not target.exists()
    with pytest.raises(ConversionError) as caught:
        read_state(path)
    assert "weights_only" not in str(caught.value), "torch's advice is to open it regardless"


def test_the_malicious_pickle_of_these_tests_would_run(tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    target = tmp_path / "run"
    pickle.loads(pickle.dumps(Malicious(target)))
    assert target.exists()


@pytest.mark.parametrize("name", ["file.ckpt", "file.safetensors", "file.bin"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 cut short"])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConversionError, match=name):
        read_state(tmp_path / name)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com", b"<!DOCTYPE html>"])
def test_what_was_downloaded_in_place_of_a_file_is_not_called_malicious(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "model.ckpt").write_bytes(content)
    with pytest.raises(ConversionError, match="no PyTorch file: is it a web page, or a pointer"):
        read_state(tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (torch.ones(3).to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
        (torch.eye(3).to_sparse(), "torch.sparse_coo"),
        (torch.ones(3, device="meta"), "meta"),
    ],
)
def test_tensors_that_are_no_arrays_are_named(
    tmp_path: Path, tensor: torch.Tensor, kind: str
) -> None:
    torch.save({"w": torch.ones(2), "x": tensor}, tmp_path / "model.ckpt")
    with pytest.raises(ConversionError, match=f"model.ckpt: 'x' is a tensor of .*{kind}"):
        read_state(tmp_path / "model.ckpt")


def test_a_file_cut_in_half_is_named(tmp_path: Path) -> None:
    for name in ("half.ckpt", "half.safetensors"):
        write_state(tmp_path / name, StateDict({"w": np.zeros(5000, np.float32)}))
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ConversionError, match=f"{name} is damaged"):
            read_state(tmp_path / name)


def test_other_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="does not exist"):
        read_state(tmp_path / "absent.ckpt")
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(ConversionError, match="ends in .safetensors, .ckpt"):
        read_state(tmp_path / "weights.h5")
    with pytest.raises(ConversionError, match="holds no weights; looked for model.safetensors"):
        read_state(tmp_path)
    with pytest.raises(ConversionError, match="say by its ending"):
        write_state(tmp_path / "weights.h5.new", StateDict(entries()))


def test_no_file_is_written_over_and_none_half(tmp_path: Path) -> None:
    path = tmp_path / "there.safetensors"
    write_state(path, StateDict(entries()))
    with pytest.raises(ConversionError, match=r"there.safetensors exists"):
        write_state(path, StateDict(entries()))
    with pytest.raises(Exception, match=r".+"):  # noqa: B017 (whatever the library says)
        write_state(tmp_path / "new.safetensors", StateDict({"w": np.array(["text"])}))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def shards(folder: Path, index: dict[str, Any], name: str) -> None:
    first, second = dict(list(entries().items())[:2]), dict(list(entries().items())[2:])
    for file, part in (("s-1", first), ("s-2", second)):
        write_state(folder / f"{file}{Path(name).suffix}", StateDict(part))
    (folder / f"{name}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_shards_of_a_directory_are_put_together(tmp_path: Path, name: str) -> None:
    ending = Path(name).suffix
    placed = {key: f"s-{1 + (at > 1)}{ending}" for at, key in enumerate(entries())}
    shards(tmp_path, {"weight_map": placed}, name)
    assert_same(dict(read_state(tmp_path).entries), entries())


def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path: Path) -> None:
    placed = {key: f"s-{1 + (at > 1)}.bin" for at, key in enumerate(entries())}
    del placed["z.weight"]
    placed["absent.weight"] = "s-2.bin"
    shards(tmp_path, {"weight_map": placed}, "pytorch_model.bin")
    with pytest.raises(ConversionError) as caught:
        read_state(tmp_path)
    assert "'absent.weight' is not in s-2.bin" in str(caught.value)
    assert "'z.weight' of s-1.bin is not in the index" in str(caught.value)


@pytest.mark.parametrize("elsewhere", ["../secret.bin", "/etc/passwd", 3])
def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, elsewhere: Any) -> None:
    shards(tmp_path, {"weight_map": {"w": elsewhere}}, "pytorch_model.bin")
    with pytest.raises(ConversionError, match="not a file beside it"):
        read_state(tmp_path)


def test_a_sidecar_comes_back(tmp_path: Path) -> None:
    listed = (
        Entry("module.w", "w", "float16", (2, 3)),
        Entry("module.count", "count", "int64", ()),
    )
    carried = {"count": np.array(7, np.int64), "brain": entries()["a.brain"]}
    write_sidecar(tmp_path, Sidecar("toy", "model", listed, carried))
    found = read_sidecar(tmp_path)
    assert (found.table, found.container, found.entries) == ("toy", "model", listed)
    assert_same({name: found.carried[name] for name in carried}, carried)


def test_a_directory_without_a_sidecar_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=rf"has no {SIDECAR}.*--like"):
        read_sidecar(tmp_path)


def test_safetensors_need_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.safetensors"
    safetensors.numpy.save_file({"w": np.ones(2, np.float32)}, path)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert list(read_state(path).entries) == ["w"]
    with pytest.raises(ImportError, match=r"adiff_jax\[convert\]"):
        write_state(tmp_path / "file.pt", StateDict({"w": np.ones(2, np.float32)}))
