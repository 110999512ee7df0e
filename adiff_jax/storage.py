"""Where things are stored: on disks, or in a bucket of Google Cloud Storage (`gs://bucket/name`).

Every path that a user gives goes through `located`; files are then read and written by
`etils.epath`, which reaches buckets through gcsfs (extra `[gcs]`), or through tensorflow where that
is installed. What a bucket is without: folders that exist when empty, appending, renaming of
folders in one step, locks, and files that can be mapped into memory. docs/storage.md says what
takes the place of each.
"""

import functools
import importlib.util
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etils import epath


def is_remote(path: epath.PathLike) -> bool:
    """Whether a path lies in a bucket."""
    return "://" in os.fspath(path)


def located(path: epath.PathLike) -> epath.Path:
    """The path, absolute if it is local, without "~".

    Raises ImportError, which names the extra, for `gs://` where nothing reaches it; ValueError for
    another scheme, or where a bucket has lost a slash.
    """
    text = os.fspath(path)
    if not is_remote(text):
        if text.startswith("gs:/"):
            raise ValueError(f"{text}: a bucket is written gs://bucket/name, with two slashes")
        return epath.Path(path).expanduser().resolve()
    if not text.startswith("gs://"):
        raise ValueError(f"{text}: paths are local or begin with gs://")
    _reach_buckets()
    return epath.Path(text.rstrip("/"))


def local(path: epath.PathLike) -> Path:
    """The path of what can lie on a disk only, without "~".

    Raises ValueError for one in a bucket, with the way out.
    """
    if is_remote(path):
        raise ValueError(
            f"{path}: this must be a local path; copy with `gcloud storage cp -r`, or mount the "
            "bucket with gcsfuse and name the folder"
        )
    return Path(path).expanduser()


@functools.cache
def _reach_buckets() -> None:
    if importlib.util.find_spec("tensorflow") is not None:
        return  # epath prefers it
    if importlib.util.find_spec("gcsfs") is None:
        raise ImportError(
            "gs:// paths need gcsfs: pip install 'adiff_jax[gcs]'; or mount the bucket with "
            "gcsfuse and name the folder"
        )
    import fsspec

    # A listing that is kept shows neither what other processes write, nor what orbax writes in
    # this one: checkpoints would be looked for in a picture of the past.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def write_whole(path: epath.Path, content: str | bytes) -> None:
    """Write a file so that a reader sees all of it, or what was there before, or nothing.

    Raises OSError when it cannot be written, whatever the storage.
    """
    data = content.encode() if isinstance(content, str) else content
    if not is_remote(path):
        with written_whole(path) as file:
            file.write_bytes(data)
        return
    try:
        path.write_bytes(data)  # in a bucket an object appears when all of it has arrived
    except OSError:
        raise
    except Exception as error:  # gcsfs, aiohttp and google.auth have errors of their own
        raise OSError(f"{path} cannot be written: {error}") from error


@contextmanager
def written_whole(path: epath.Path) -> Iterator[Path]:
    """A local file to fill, which becomes the file at `path` when nothing is raised inside.

    It is the writer's own, so that several at once do not mix theirs. For a bucket it lies in the
    folder of temporary files (TMPDIR).
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="adiff-") as folder:
            file = Path(folder) / path.name
            yield file
            epath.Path(file).copy(path, overwrite=True)
        return
    beside = Path(path.parent) / f".{path.name}.{uuid.uuid4().hex[:12]}.partial"
    try:
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_below(path: epath.PathLike, text: str) -> None:
    """`write_whole` for a path as users give it; its folder is made."""
    file = located(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text)


def write_first(path: epath.Path, text: str) -> bool:
    """Write a file unless it is there; of several writers at once one is first, here or on other
    machines. Returns whether this one was."""
    data = text.encode()
    try:
        if is_remote(path):
            import fsspec

            with fsspec.open(os.fspath(path), "xb") as file:
                file.write(data)
        else:
            _link_first(Path(path), data)
    except FileExistsError:
        return False
    return True


def _link_first(path: Path, data: bytes) -> None:
    """A link takes a name only where there is none, and the file behind it is whole."""
    beside = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.partial"
    try:
        beside.write_bytes(data)
        os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def upload(folder: Path, to: epath.Path, last: str = "") -> None:
    """Copy every file below a local folder to below `to`; the one named `last` at the end, so that
    who finds it finds the others."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    for file in sorted(files, key=lambda file: file == folder / last):
        target = to / file.relative_to(folder).as_posix()
        target.parent.mkdir(parents=True, exist_ok=True)
        epath.Path(file).copy(target, overwrite=True)


@functools.cache
def mappable(path: epath.Path) -> Path:
    """A local file with the content of `path`: itself, or a copy that is kept until this process
    ends. Copies take the room of the original in the folder of temporary files (TMPDIR)."""
    if not is_remote(path):
        return Path(path)
    copy = Path(tempfile.mkdtemp(dir=_copies().name)) / path.name
    path.copy(copy)
    return copy


@functools.cache
def _copies() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="adiff-")
