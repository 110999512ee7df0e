"""PyTorch checkpoint files: entries in, entries out, and the sidecar of a conversion.

Read: `.safetensors` (without torch), `.ckpt .pt .pth .bin` (with torch, which unpickles tensors and
plain containers only and runs nothing), and Hugging Face directories, sharded ones too. A file is
written whole or not at all, and never over another.
"""

import contextlib
import dataclasses
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from adiff_jax.convert.engine import ConversionError, Entry, Sidecar, StateDict

PICKLED = (".ckpt", ".pt", ".pth", ".bin")
SIDECAR = "torch_entries.safetensors"
"""What a conversion keeps beside the weights; see `Sidecar`."""

_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"


def read_state(path: str | Path, containers: tuple[str, ...] = ()) -> StateDict:
    """The entries of a file or a Hugging Face directory, in its order.

    `containers` are keys that the state dictionary may be under. Raises ConversionError for a file
    that is absent, broken, or holds what is no array; ImportError without the extra it needs.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return StateDict(_read_directory(path))
    if not path.exists():
        raise ConversionError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        return StateDict(_read_safetensors(path))
    if path.suffix not in PICKLED:
        raise ConversionError(
            f"{path}: a checkpoint ends in .safetensors, {', '.join(PICKLED)}, or is a directory"
        )
    loaded, container = _unpickled(path), ""
    for key in containers:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded, container = loaded[key], key
            break
    return StateDict(_as_arrays(loaded, path), container)


def write_state(path: str | Path, state: StateDict) -> None:
    """Write entries as `.safetensors`, or with torch, by the ending of `path`.

    A container is restored in a pickled file; safetensors have none. Raises ConversionError when
    the file exists, or for another ending; ImportError without the extra.
    """
    path = Path(path).expanduser()
    if path.exists():
        raise ConversionError(f"{path} exists: remove it, or write another file")
    if path.suffix == ".safetensors":
        _write_safetensors(path, state.entries, {"format": "pt"})  # as PyTorch's readers expect
    elif path.suffix in PICKLED:
        torch = _torch()
        tensors: Any = {name: _as_tensor(value) for name, value in state.entries.items()}
        with _whole(path) as beside:
            torch.save({state.container: tensors} if state.container else tensors, beside)
    else:
        raise ConversionError(
            f"{path}: say by its ending what to write, .safetensors or {' '.join(PICKLED)}"
        )


def write_sidecar(directory: str | Path, sidecar: Sidecar) -> None:
    """Keep `sidecar` in a directory, as `torch_entries.safetensors`."""
    form = {
        "table": sidecar.table,
        "container": sidecar.container,
        "entries": [dataclasses.astuple(entry) for entry in sidecar.entries],
    }
    _write_safetensors(Path(directory) / SIDECAR, sidecar.carried, {"form": json.dumps(form)})


def read_sidecar(directory: str | Path) -> Sidecar:
    """What `write_sidecar` wrote. Raises ConversionError when there is none."""
    path = Path(directory) / SIDECAR
    if not path.exists():
        raise ConversionError(
            f"{directory} has no {SIDECAR}: it was not converted from PyTorch, so the names to "
            "write are not known; give a converted directory of the same model with --like"
        )
    carried = _read_safetensors(path)
    with _opened(path) as file:
        form = json.loads(file.metadata()["form"])
    entries = tuple(
        Entry(name, canonical, dtype, tuple(shape))
        for name, canonical, dtype, shape in form["entries"]
    )
    return Sidecar(form["table"], form["container"], entries, carried)


def read_config(directory: str | Path) -> dict[str, Any]:
    """`config.json` of a Hugging Face directory. Raises ConversionError without a readable one."""
    path = Path(directory).expanduser() / "config.json"
    if not path.is_file():
        raise ConversionError(f"{path} does not exist: give the directory of a Hugging Face model")
    return _read_json(path)


# --- reading ----------------------------------------------------------------------------------


def _read_directory(path: Path) -> dict[str, np.ndarray]:
    """Entries of a Hugging Face directory: one file, or the shards that an index names."""
    for name in _WHOLE:
        if (path / name).is_file():
            return dict(read_state(path / name).entries)
        if (index := path / (name + _INDEX)).is_file():
            return _read_shards(index)
    known = ", ".join([*_WHOLE, *(name + _INDEX for name in _WHOLE)])
    raise ConversionError(f"{path} holds no weights; looked for {known}")


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    placed = _read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise ConversionError(f"{index} has no weight_map: it is no index of shards")
    files: dict[str, Mapping[str, np.ndarray]] = {}
    for file in dict.fromkeys(placed.values()):
        if not isinstance(file, str) or Path(file).name != file:  # an index cannot point elsewhere
            raise ConversionError(f"{index} names {file!r}, which is not a file beside it")
        files[file] = read_state(index.parent / file).entries
    problems = [f"{name!r} is not in {f}" for name, f in placed.items() if name not in files[f]]
    for file, entries in files.items():
        strange = [name for name in entries if placed.get(name) != file]
        problems += [f"{name!r} of {file} is not in the index" for name in strange]
    if problems:
        raise ConversionError(f"{index} and its shards disagree:\n  " + "\n  ".join(problems))
    return {name: files[file][name] for name, file in placed.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:  # no JSON, or no text
        raise ConversionError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ConversionError(f"{path} holds no JSON object")
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file. Raises ConversionError when it is none."""
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise ConversionError(f"{path} is damaged, or no safetensors: {error}") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


def _unpickled(path: Path) -> Any:
    """What torch reads without running anything. Raises ConversionError for all else."""
    torch = _torch()
    try:
        # Newer files are zip archives, whose tensors need not be read before they are used.
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        # torch's own message advises to switch the protection off; ours does not.
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            raise ConversionError(
                f"{path} is damaged, or no PyTorch file: is it a web page, or a pointer of git-lfs "
                "in place of the file?"
            ) from error
        raise ConversionError(
            f"{path} holds more than arrays (it names {found[1]}), and reading it could run a "
            "program hidden in it: refused, nothing was run. Ask its author for a .safetensors "
            "file, or for the state dictionary alone"
        ) from error
    except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise ConversionError(f"{path} is damaged, or no PyTorch file: {first}") from error


def _as_arrays(loaded: Any, path: Path) -> dict[str, np.ndarray]:
    torch = _torch()
    if not isinstance(loaded, Mapping):
        raise ConversionError(f"{path} holds a {type(loaded).__name__}, not a state dictionary")
    strange = [
        f"{name!r} is of type {type(value).__name__}"
        for name, value in loaded.items()
        if not (isinstance(name, str) and isinstance(value, torch.Tensor))
    ]
    if strange:
        raise ConversionError(
            f"{path} holds entries that are no arrays, so it is not the state dictionary that this "
            "kind of checkpoint is published as:\n  " + "\n  ".join(strange)
        )
    return {name: _as_array(value, f"{path}: {name!r}") for name, value in loaded.items()}


def _as_array(tensor: Any, what: str) -> np.ndarray:
    torch, tensor = _torch(), tensor.detach()
    try:
        if tensor.dtype == torch.bfloat16:  # numpy has none of its own
            return tensor.contiguous().view(torch.int16).numpy().view(jnp.bfloat16)
        return tensor.numpy()
    except (TypeError, RuntimeError) as error:  # quantised, sparse, without storage, float8
        raise ConversionError(
            f"{what} is a tensor of {tensor.dtype}, {tensor.layout}, on {tensor.device.type}, "
            "which is no plain array: save it dense, in float32, float16 or bfloat16"
        ) from error


# --- writing ----------------------------------------------------------------------------------


def _as_tensor(value: np.ndarray) -> Any:
    torch = _torch()
    copied = np.array(value, order="C")  # torch wants memory that it may write to
    if copied.dtype == np.dtype(jnp.bfloat16):
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copied)


def _write_safetensors(
    path: Path, entries: Mapping[str, np.ndarray], metadata: dict[str, str]
) -> None:
    _safetensors()
    from safetensors.numpy import save_file

    with _whole(path) as beside:
        save_file(
            {name: np.asarray(value, order="C") for name, value in entries.items()},
            beside,
            metadata=metadata,
        )


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place once it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "reading and writing pickled PyTorch files needs torch: pip install "
            "'adiff_jax[convert]', or use .safetensors"
        ) from error
    return torch


def _safetensors() -> Any:
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(
            "converting needs safetensors: pip install 'adiff_jax[convert]'"
        ) from error
    return safetensors
