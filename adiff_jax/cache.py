"""Encodes a source once with a trained encoder: the feature cache that ablations train on."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from adiff_jax.data.features import CachedPairs, read_about, write_features
from adiff_jax.data.pipeline import evaluation_batches
from adiff_jax.data.schema import Arrays, Source
from adiff_jax.data.transforms import Encode
from adiff_jax.experiment import ConfigError, Data, DataConfig
from adiff_jax.experiment_json import source_json
from adiff_jax.frozen_encoder import fingerprint
from adiff_jax.models.build import FrameEncoder, build_encoder
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.features import Augment, hear
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.opened import open_data
from adiff_jax.run import Trained, load_trained


def cached(config: DataConfig, encoder_run: str, path: str, data: Data) -> CachedPairs:
    """The features of a source under `path`, encoded now unless they are there.

    Of the processes of one JAX program only the first encodes; the others wait for it. Programs
    that do not know of each other, the cells of an array job, may all encode: the first to end
    gives the cache.

    Raises ConfigError when `path` holds the features of another source or encoder, or of windows
    of another length, and for an encoder that single clips of `data` cannot be given to.
    """
    trained = load_trained(encoder_run)
    encoder = _encoder(trained, encoder_run, data)
    made_of = made_from(config, data) | {"encoder": _fingerprint(trained, encoder)}
    already = is_cached(path, made_of)  # asked by every process, so that all refuse together
    if jax.process_index() == 0 and not already:
        source = open_data(config)
        write_features(path, source, encode_clips(trained, encoder, source, data), made_of)
    multihost_utils.sync_global_devices(f"features in {path}")
    if not is_cached(path, made_of):  # also when another job wrote others meanwhile
        raise ConfigError(f"{path} is not on a disk that process {jax.process_index()} sees")
    return CachedPairs(path)


def made_from(config: DataConfig, data: Data) -> dict[str, Any]:
    """What features are made of, but for the encoder."""
    heard = {name: getattr(data.encode, name) for name in ("seconds", "short", "compat")}
    return {"source": json.loads(source_json(config)), **heard}


def is_cached(path: str, made_of: Mapping[str, Any]) -> bool:
    """Whether `path` holds finished features; ConfigError when theirs is not `made_of`."""
    about = read_about(path)
    differing = [name for name in made_of if about is not None and about.get(name) != made_of[name]]
    if differing:
        raise ConfigError(
            f"{path} holds features of another {' and '.join(differing)}: remove it, or choose "
            "another --workdir"
        )
    return about is not None


def encode_clips(
    trained: Trained, encoder: FrameEncoder, source: Source, data: Data
) -> Iterator[tuple[Arrays, np.ndarray, np.ndarray]]:
    """(loader batch, frames [b c f d], valid frames [b c]) of the c clips of every example, by a
    run's encoder."""
    module = build_encoder(encoder, jnp.float32)
    variables = {name: tree["encoder"] for name, tree in trained.variables.items()}

    @jax.jit
    def encode(audio: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        apply = partial(module.apply, variables)
        frames, mask = hear(apply, encoder, Augment(), audio, lengths, None, False)
        return frames, mask.sum(axis=1)

    batch = trained.parts.experiment.evaluation.batch
    rows = evaluation_batches(source, Encode(data.encode), batch, config=data.loader)
    with tqdm(total=len(source), desc="encoding", unit="example", disable=None) as bar:
        for arrays in rows:
            held = [i for i in (1, 2) if f"audio_{i}" in arrays]
            clips = [encode(arrays[f"audio_{i}"], arrays[f"length_{i}"]) for i in held]
            frames, lengths = (
                np.stack([np.asarray(clip[part]) for clip in clips], axis=1) for part in (0, 1)
            )
            yield arrays, frames, lengths
            bar.update(int(arrays["valid"].sum()))


def _encoder(trained: Trained, run: str, data: Data) -> FrameEncoder:
    """The encoder of a run; ConfigError unless single clips of `data` can be given to it."""
    model = trained.parts.experiment.model
    if isinstance(model, LanguageModel):
        raise ConfigError(f"features_from: {run} trained a language model, which has no encoder")
    encoder = model.encoder
    if isinstance(encoder, Htsat):
        raise ConfigError(
            f"features_from: the encoder of {run} is Htsat, whose output a comparison does not "
            "read: name a run of an encoder of frames, of the BYOL-A family or Cnn10"
        )
    if not isinstance(encoder, Cnn10) and encoder.channels != 1:
        raise ConfigError(f"features_from: the encoder of {run} reads pairs, not single clips")
    if encoder.frontend.rate != data.encode.rate:
        raise ConfigError(
            f"features_from: the encoder of {run} hears {encoder.frontend.rate} Hz, but "
            f"data.encode.rate is {data.encode.rate} Hz"
        )
    return encoder


def _fingerprint(trained: Trained, encoder: FrameEncoder) -> str:
    encoders = {name: tree["encoder"] for name, tree in trained.variables.items()}
    return fingerprint(encoder, encoders)
