"""`adiff data embed`: the embeddings of every clip of a source, by the frozen encoder of a run.

A cache is made of shards that are computed alone: by the processes of a JAX program, or by the
jobs of an array. A shard has batches of its own, so that who computes it changes no bit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from tqdm import tqdm

from adiff_jax.data.embedding_files import ClipPlace, EmbeddingFiles, StoredClip, clip_places
from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.data.features import CachedPairs
from adiff_jax.data.order import share_of
from adiff_jax.data.pipeline import LoaderConfig, read_ahead
from adiff_jax.data.read_clips import ReadClip, ReadClips, groups
from adiff_jax.data.schema import Source
from adiff_jax.data.sources import Explanations, LabelledMixes, NaturalPairs, SynthPairs
from adiff_jax.data.transforms import Encode
from adiff_jax.embed_source import changed_shards, clips_in, compare_examples, kept_of
from adiff_jax.experiment import ConfigError, DataConfig, Experiment
from adiff_jax.experiment_json import source_json
from adiff_jax.frozen_encoder import (
    Hearing,
    clip_encoder,
    clips_of_shard,
    embeddings_of,
)
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.tagger import Tagger
from adiff_jax.opened import open_data
from adiff_jax.run import load_trained

SHARD_CLIPS = 1024
"""Clips of a shard where the number of shards is not given."""


@dataclass(frozen=True)
class Embed:
    """How a cache is made: `crops` windows a clip, drawn with `seed`; the first is the centre.

    `shards` None takes the cache's own number, or one for every `SHARD_CLIPS` clips. `shard`
    "i/N" makes N of them and writes the i-th only. `refresh` encodes again what has changed.
    `size` takes so many examples, or pairs to explain, of a source that is made to a size.
    """

    crops: int = 1
    seed: int = 0
    shards: int | None = None
    shard: str = ""
    refresh: bool = False
    size: int | None = None

    def __post_init__(self) -> None:
        for name in ("crops", "shards", "size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"--{name} is {value}: give at least 1")
        if self.seed < 0:
            raise ConfigError(f"--seed is {self.seed}: it must not be negative")
        if self.shards is not None and self.shard:
            raise ConfigError("--shards and --shard both say how many shards: give one of them")
        if self.shard:
            share_of(self.shard)

    @property
    def wanted(self) -> int | None:
        """The number of shards that is asked for."""
        return share_of(self.shard)[1] if self.shard else self.shards


@dataclass
class Embedded:
    """What was done: clips that were encoded, and clips that were there and compared."""

    path: str
    examples: int
    clips: int
    shards: int
    encoded: int = 0
    compared: int = 0

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.examples} examples of {self.clips} clips in {self.shards} "
            f"shard(s); {self.encoded} clips encoded, {self.compared} compared with their audio"
        )


def embed(
    experiment: Experiment, split: str, encoder: epath.PathLike, path: str, how: Embed
) -> Embedded:
    """Write the embeddings of a split of an experiment by the encoder of a run, or go on.

    Shards that are there are not computed again. Where none is left to compute, examples and clips
    are compared with the source instead. Raises ConfigError when `path` holds embeddings of
    something else, when examples or clips have changed and `how.refresh` is not set, and for an
    encoder or experiment that no cache can be made of.
    """
    trained = load_trained(encoder)
    tagger, variables = clip_encoder(trained.parts.experiment.model, trained.variables)
    if isinstance(experiment.model, Adiff):  # which will hear in its own precision, not the run's
        tagger = replace(tagger, compute=experiment.model.clips.compute)
    config = _source_config(experiment, split, how.size)
    _check(experiment, config, tagger, str(encoder))
    source, files = open_data(config), EmbeddingFiles.at(path)
    loader = experiment.data.loader
    asked = embeddings_of(tagger, variables, experiment.data.encode) | {
        "source": json.loads(source_json(config)),
        "crops": how.crops,
        "seed": how.seed,
    }
    if jax.process_index() == 0 and not (files.about() and files.has_examples()):
        _begin(files, source, asked, str(encoder), how, loader)
    multihost_utils.sync_global_devices(f"examples in {path}")
    shards = _check_about(files, asked, how)
    places = files.clip_places()
    mine = [share_of(how.shard)[0]] if how.shard else list(range(shards))
    mine = mine[jax.process_index() :: jax.process_count()]
    done = Embedded(path, len(source), len(places), shards)
    missing = [shard for shard in mine if not files.has_shard(shard, shards)]
    if not missing:
        if jax.process_index() == 0:
            compare_examples(files, source, how.refresh, loader)
        missing = changed_shards(files, source, mine, how.refresh, loader)
        done.compared = clips_in(places, mine, shards)
    done.encoded = clips_in(places, missing, shards)
    encode = Encode(experiment.data.encode)
    hear = Hearing(tagger, variables, experiment.evaluation.batch)
    with tqdm(total=done.encoded, desc="embedding", unit="clip", disable=None) as bar:
        for shard in missing:
            clips = clips_of_shard(places, shard, shards)
            load = ReadClips(source, encode, groups(clips), how.crops, how.seed)
            read = chain.from_iterable(read_ahead(load, len(load.groups), loader))
            stored, rows = _encoded(clips, read, hear, bar)
            files.write_shard(shard, shards, stored, rows)
    multihost_utils.sync_global_devices(f"embeddings in {path}")
    return done


def _encoded(
    clips: Sequence[ClipPlace], reads: Iterator[ReadClip], hear: Hearing, bar: tqdm
) -> tuple[list[StoredClip], np.ndarray]:
    """What a shard holds: its clips, and the embeddings [rows d] of their crops in turn."""
    stored, found = [], []
    windows: list[np.ndarray] = []
    lengths: list[np.int32] = []
    for clip, read in zip(clips, reads, strict=True):
        stored.append(StoredClip(clip.name, read["sha256"], len(read["windows"])))
        windows += list(read["windows"])
        lengths += [read["length"]] * len(read["windows"])
        while len(windows) >= hear.size or (windows and len(stored) == len(clips)):
            found.append(hear(np.stack(windows[: hear.size]), np.stack(lengths[: hear.size])))
            del windows[: hear.size], lengths[: hear.size]
        bar.update()
    return stored, np.concatenate(found)


def _source_config(experiment: Experiment, split: str, size: int | None) -> DataConfig:
    config = experiment.source(split)
    if isinstance(config, CachedEmbeddings | CachedPairs):
        raise ConfigError(
            f"split {split!r} is {type(config).__name__}, which has no audio: name a config in "
            "which it is read from recordings"
        )
    if size is None:
        return config
    match config:
        case SynthPairs() | NaturalPairs() | LabelledMixes():
            return replace(config, size=size)
        case Explanations(pairs=SynthPairs() as pairs):
            return replace(config, pairs=replace(pairs, size=size))
        case _:
            raise ConfigError(f"--size: {type(config).__name__} has a size of its own")


def _check(experiment: Experiment, config: DataConfig, tagger: Tagger, encoder: str) -> None:
    encode, frontend = experiment.data.encode, tagger.encoder.frontend
    if encode.compat:
        raise ConfigError(
            f"data.encode.compat is {encode.compat!r}, under which every step hears a fresh crop: "
            "a cache holds a few; train on audio, or leave compat out"
        )
    if frontend.rate != encode.rate:
        raise ConfigError(
            f"--encoder: the encoder of {encoder} hears {frontend.rate} Hz, but data.encode.rate "
            f"is {encode.rate} Hz"
        )


def _begin(
    files: EmbeddingFiles,
    source: Source,
    asked: Mapping[str, Any],
    encoder: str,
    how: Embed,
    loader: LoaderConfig,
) -> None:
    """Write what the cache is to hold, unless another job was first."""
    if files.about() is not None:
        _check_about(files, asked, how)
    kept = kept_of(source, loader)
    clips = len(clip_places(kept.lines))
    shards = how.wanted or -(-clips // SHARD_CLIPS)
    if shards > clips:
        raise ConfigError(f"{shards} shards are asked for, but there are {clips} clips")
    files.claim({**asked, "shards": shards, "encoder_run": encoder})
    _check_about(files, asked, how)
    files.write_examples(kept)


def _check_about(files: EmbeddingFiles, asked: Mapping[str, Any], how: Embed) -> int:
    """The number of shards. Raises ConfigError unless the cache is made of what is asked for."""
    about = files.about()
    if about is None:
        raise ConfigError(f"{files.path} is not on a disk that all processes see")
    differing = [_IN_WORDS[name] for name in asked if about.get(name) != asked[name]]
    if differing:
        raise ConfigError(
            f"{files.path} holds embeddings of another {' and '.join(differing)}: remove it, or "
            "name another --out"
        )
    shards: int = about["shards"]
    if how.wanted not in (None, shards):
        raise ConfigError(
            f"{files.path} has {shards} shards, not {how.wanted}: say {shards}, or remove it"
        )
    return shards


_IN_WORDS = {
    "encoder": "encoder",
    "audio": "way of cutting clips (data.encode)",
    "source": "source",
    "crops": "number of crops",
    "seed": "seed",
}
