"""Examples as files, for people who want files: audio, a CSV table, and a journal of everything.

    OUT/audio/*.flac    each clip once, however many pairs use it
    OUT/pairs.csv       key, s1_fn, s2_fn, caption_1 ... (the columns of AudioDiffCaps)
    OUT/pairs.jsonl     the same with edits, labels, recordings, prompt, tier, SHA-256 of samples;
                        edits as lists of [operation, event, replacement]

The journal is written pair by pair, and what it holds is not made again: an interrupted run goes
on where it stopped.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from etils import epath

from adiff_jax.audio.io import as_pcm16, write_audio
from adiff_jax.data.builders.table_source import edits_to_rows
from adiff_jax.data.schema import Example, Source
from adiff_jax.storage import located

JOURNAL = "pairs.jsonl"
TABLE = "pairs.csv"
AUDIO = "audio"
_FEWEST_CAPTION_COLUMNS = 5

Progress = Callable[[Iterable[int]], Iterable[int]]


def write_pairs(
    source: Source,
    out_dir: str,
    fmt: Literal["flac", "wav"] = "flac",
    progress: Progress = iter,
) -> None:
    """Write every example of `source` under `out_dir`; `progress` wraps the indices still to do.

    Raises ValueError when `out_dir` holds the pairs of another source, AudioError for a clip that
    cannot be written.
    """
    if fmt not in ("flac", "wav"):
        raise ValueError(f"format {fmt!r} is not one of flac, wav")
    out = located(out_dir)
    (out / AUDIO).mkdir(parents=True, exist_ok=True)
    entries = _resumed(source, out, fmt)
    files = {clip["sha256"]: clip["file"] for entry in entries for clip in entry["clips"]}
    taken = set(files.values())
    with (out / JOURNAL).open("w") as journal:
        for entry in entries:
            journal.write(json.dumps(entry) + "\n")
        for index in progress(range(len(entries), len(source))):
            entry = _write_example(source[index], out, fmt, files, taken)
            entries.append(entry)
            journal.write(json.dumps(entry) + "\n")
            journal.flush()
    (out / TABLE).write_text(_table(entries))


def read_journal(out_dir: epath.PathLike) -> list[dict[str, Any]]:
    """The complete entries of the journal in `out_dir`; none where there is no journal."""
    journal = located(out_dir) / JOURNAL
    entries: list[dict[str, Any]] = []
    for line in journal.read_text().splitlines() if journal.exists() else ():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break  # the line that was being written when the run was stopped
    return entries


def wave_hash(wave: np.ndarray) -> str:
    """SHA-256 of a clip's samples as 16-bit integers: the same in any lossless file."""
    return hashlib.sha256(as_pcm16(wave).astype("<i2").tobytes()).hexdigest()


def _write_example(
    example: Example, out: epath.Path, fmt: str, files: dict[str, str], taken: set[str]
) -> dict[str, Any]:
    clips = []
    for number, wave in enumerate(example.waves, start=1):
        digest = wave_hash(wave)
        if digest not in files:
            name = f"{_safe(example.id)}-{number}.{fmt}"
            if name in taken:  # "a/b" and "a_b" are one name
                name = f"{_safe(example.id)}-{number}-{digest}.{fmt}"
            write_audio(out / AUDIO / name, wave, example.rate)
            files[digest] = name
            taken.add(name)
        clips.append({"file": files[digest], "sha256": digest})
    return {
        "id": example.id,
        "clips": clips,
        "captions": list(example.captions),
        "edits": edits_to_rows(example.edits),
        "labels": list(example.labels),
        "recordings": list(example.recordings),
        "prompt": example.prompt,
        "tier": example.tier,
    }


def _resumed(source: Source, out: epath.Path, fmt: str) -> list[dict[str, Any]]:
    """The entries of an earlier run that are complete, checked against `source`."""
    entries = read_journal(out)
    if len(entries) > len(source):
        raise ValueError(
            f"{out} holds {len(entries)} examples, the source {len(source)}; "
            "choose another folder or empty this one"
        )
    for index, entry in enumerate(entries):
        truth = source.truth(index)
        same = (entry["id"], entry["captions"]) == (truth.id, list(truth.references))
        if not same or not all(clip["file"].endswith(fmt) for clip in entry["clips"]):
            raise ValueError(
                f"{out} holds other examples than the source (or another format): {entry['id']} "
                f"is not what {truth.id} would be; choose another folder or empty this one"
            )
        if not all((out / AUDIO / clip["file"]).exists() for clip in entry["clips"]):
            return entries[:index]
    return entries


def _table(entries: list[dict[str, Any]]) -> str:
    most = max((len(entry["captions"]) for entry in entries), default=0)
    columns = max(most, _FEWEST_CAPTION_COLUMNS)
    text = io.StringIO()
    writer = csv.writer(text)
    names = [f"caption_{number}" for number in range(1, columns + 1)]
    writer.writerow(["key", "s1_fn", "s2_fn", *names])
    for entry in entries:
        files = [clip["file"] for clip in entry["clips"]]
        padded = [*entry["captions"], *[""] * (columns - len(entry["captions"]))]
        writer.writerow([entry["id"], files[0], files[1] if len(files) > 1 else "", *padded])
    return text.getvalue()


def _safe(example_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", example_id)
