"""Where training says what it measured: metrics.jsonl always, TensorBoard, Weights & Biases.

A line of metrics.jsonl is `{"step": 40, "kind": "train", "loss": ...}`; kinds are `train`,
`evaluation`, `goodput` (where the time of a process went, at its end) and `event` (something
happened: `{"step": 40, "kind": "event", "event": "..."}`).
`step` counts updates made. Only process 0 writes.
"""

import json
import math
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from tqdm import tqdm

from adiff_jax.storage import is_remote, write_whole


class JsonLines:
    """A file of JSON objects that outlives kills and full disks.

    Local files are appended to; on object stores, which cannot append, the file is written anew.
    """

    def __init__(
        self, path: epath.Path, restored: int | None, evaluate_again: bool = False
    ) -> None:
        """Continue the file of a run restored at step `restored` (None: begun anew): drop lines
        of measurements that will be made again (`evaluate_again`: also that of `restored` itself),
        and lines that a kill cut short."""
        self._path = path
        found = path.read_text() if path.exists() else ""
        kept = [line for line in found.splitlines() if _stays(line, restored, evaluate_again)]
        text = "".join(line + "\n" for line in kept)
        if text != found:
            write_whole(path, text)
        self._remote = is_remote(path)
        self._written = text if self._remote else ""
        self._size = len(text.encode())
        self._unwritten = ""

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line; one that cannot be written now is said on stderr and tried again later."""
        self._unwritten += json.dumps({k: _json_value(v) for k, v in line.items()}) + "\n"
        try:
            if self._remote:
                write_whole(self._path, self._written + self._unwritten)
                self._written += self._unwritten
            else:
                with open(self._path, "ab") as file:
                    file.truncate(self._size)  # what an attempt that failed half-way left behind
                    file.write(self._unwritten.encode())
        except OSError as error:
            tqdm.write(f"{self._path} not written: {error}", file=sys.stderr)
            return
        self._size += len(self._unwritten.encode())
        self._unwritten = ""


def _stays(line: str, restored: int | None, evaluate_again: bool) -> bool:
    try:
        content = json.loads(line)
    except json.JSONDecodeError:
        return False
    if content["kind"] in ("event", "goodput"):  # no measurement that will be made again
        return True
    again = evaluate_again and content["kind"] == "evaluation"
    return restored is not None and content["step"] <= restored - again


def _json_value(value: Any) -> Any:
    """JSON has no infinities: they are written as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


COPY_SECONDS = 30.0
"""How old the event file in a bucket may get: TensorBoard itself looks every 30 seconds."""


class TensorBoard:
    """Scalars in TensorBoard's event files, written in the calling thread.

    For a directory in a bucket the file grows in a temporary folder and is copied from there.
    """

    def __init__(self, directory: epath.Path, restored: int | None) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._bucket, self._folder, self._copied = None, None, -math.inf
        if is_remote(directory):
            self._bucket = directory
            self._folder = tempfile.TemporaryDirectory(prefix="adiff-")
            directory = epath.Path(self._folder.name)
        directory.mkdir(parents=True, exist_ok=True)
        name = os.fspath(directory / f"run-{os.getpid()}")
        self._writer, self._event = EventsWriter(name), Event
        # TensorBoard then hides what an earlier process wrote from this step on
        start, step = SessionLog(status=SessionLog.START), 0 if restored is None else restored + 1
        self._writer.write_event(Event(wall_time=time.time(), step=step, session_log=start))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to the curve of every value."""
        from tensorboardX.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        summary = Summary(value=points)
        try:
            self._writer.write_event(self._event(wall_time=time.time(), step=step, summary=summary))
            self._writer.flush()
            if time.monotonic() - self._copied > COPY_SECONDS:
                self._copy()
        except OSError as error:
            tqdm.write(f"TensorBoard not written: {error}", file=sys.stderr)

    def _copy(self) -> None:
        if self._bucket is not None and self._folder is not None:
            self._copied = time.monotonic()
            for file in epath.Path(self._folder.name).iterdir():
                write_whole(self._bucket / file.name, file.read_bytes())

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
        try:
            self._copy()
        except OSError as error:
            tqdm.write(f"TensorBoard not written: {error}", file=sys.stderr)
        if self._folder is not None:
            self._folder.cleanup()


class WeightsAndBiases:
    """The same curves on wandb; one wandb run per run directory, resumed with it."""

    def __init__(self, project: str, directory: epath.Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError(
                f"wandb_project is {project!r} but wandb is not installed: "
                "pip install wandb, or leave wandb_project empty"
            ) from error
        stored = directory / "wandb_id.txt"
        if not stored.exists():
            stored.write_text(uuid.uuid4().hex)
        self._run = wandb.init(
            project=project, id=stored.read_text(), name=directory.name, resume="allow"
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to the curve of every value."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Upload what is left."""
        self._run.finish()


class MetricsLog:
    """All the places at once. Does nothing but print events on processes other than 0."""

    def __init__(
        self,
        lines: epath.Path,
        tensorboard: epath.Path,
        restored: int | None,
        evaluate_again: bool = False,
        wandb_project: str = "",
    ) -> None:
        self._lines: JsonLines | None = None
        self._curves: list[TensorBoard | WeightsAndBiases] = []
        if jax.process_index() != 0:
            return
        lines.parent.mkdir(parents=True, exist_ok=True)
        self._lines = JsonLines(lines, restored, evaluate_again)
        self._curves.append(TensorBoard(tensorboard, restored))
        if wandb_project:
            self._curves.append(WeightsAndBiases(wandb_project, lines.parent))

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Measurements after `step` updates; `kind` is "train", "evaluation" or
        "goodput"."""
        if self._lines is not None:
            self._lines.write({"step": step, "kind": kind, **values})
        for curve in self._curves:
            curve.write(step, {f"{kind}/{name}": value for name, value in values.items()})

    def event(self, step: int, text: str) -> None:
        """Something that a reader of the log should know; also on stderr."""
        tqdm.write(f"step {step}: {text}", file=sys.stderr)
        if self._lines is not None:
            self._lines.write({"step": step, "kind": "event", "event": text})

    def close(self) -> None:
        """Flush, and finish what is uploaded."""
        for curve in self._curves:
            curve.close()
