"""The frozen encoder behind a cache: running it, knowing it again, and whether a run that trains on
the cache starts from the same one."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.data.embedding_files import ClipPlace, EmbeddingFiles, StoredClip
from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.data.order import shard_range
from adiff_jax.data.read_clips import HashClips, groups
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.experiment import ConfigError, DataConfig, Experiment, Model, heard_of
from adiff_jax.experiment_json import source_from_json
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.tagger import Tagger, TaggerModel
from adiff_jax.opened import open_data
from adiff_jax.parallel.mesh import MeshConfig, batch_sharding, batch_shards, make_mesh, replicated
from adiff_jax.parts import note
from adiff_jax.protocol import Variables

TEXT_FIELDS = ("max_tokens", "prompt_tokens", "paraphrase", "buckets")
"""Fields of `EncodeConfig` that audio does not depend on."""

TRAINING_FIELDS = ("augment", "dropout", "head_dropout", "stochastic_depth", "freeze_batch_norm")
"""Fields of encoders that embeddings do not depend on."""

SPOT_CHECKED = 8
"""Clips whose samples are compared with the source's when training starts."""


def fingerprint(config: object, variables: Variables) -> str:
    """SHA-256 of a configuration (of an encoder: frontend, mean and deviation among it), weights
    and statistics."""
    digest = hashlib.sha256(repr(config).encode())
    for name in sorted(variables):
        for leaf in jax.tree.leaves(variables[name]):
            digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def clip_encoder(model: Model, variables: Variables) -> tuple[Tagger, Variables]:
    """The encoder of single clips, and the variables of its embedding path.

    Raises ConfigError for a model that has none.
    """
    match model:
        case Tagger():
            tagger, trees = model, variables
        case Adiff(clips=tagger):
            trees = {name: tree["clips"] for name, tree in variables.items() if "clips" in tree}
        case _:
            raise ConfigError(
                f"{type(model).__name__} gives no embeddings of clips; a tagger and ADIFF do"
            )
    # A layer of Cnn10's head is the embedding.
    parts = ("encoder", "head") if isinstance(tagger.encoder, Cnn10) else ("encoder",)
    kept = {
        name: {part: tree[part] for part in parts if part in tree} for name, tree in trees.items()
    }
    return tagger, {name: tree for name, tree in kept.items() if "encoder" in tree}


def embeddings_of(tagger: Tagger, variables: Variables, encode: EncodeConfig) -> dict[str, Any]:
    """What embeddings depend on beside the clips: the encoder, and how audio is given to it."""
    audio = dataclasses.asdict(encode)
    return {
        "encoder": fingerprint((_as_it_hears(tagger.encoder), tagger.compute), variables),
        "audio": {name: value for name, value in audio.items() if name not in TEXT_FIELDS},
    }


def _as_it_hears(encoder: Any) -> Any:
    """The encoder's configuration, with what matters in training only at its default."""
    usual = {field.name: field.default for field in dataclasses.fields(encoder)}
    return dataclasses.replace(encoder, **{n: usual[n] for n in TRAINING_FIELDS if n in usual})


class Hearing:
    """An encoder on this process's devices, in batches of one size, `batch` or a little more."""

    def __init__(self, tagger: Tagger, variables: Variables, batch: int) -> None:
        mesh = make_mesh(MeshConfig(), jax.local_devices())
        module = TaggerModel(tagger)
        self.size = -(-batch // batch_shards(mesh)) * batch_shards(mesh)
        self._rows = batch_sharding(mesh)
        self._variables = jax.device_put(variables, replicated(mesh))

        @jax.jit
        def embed(variables: Variables, audio: jax.Array, lengths: jax.Array) -> jax.Array:
            valid, ids = lengths > 0, jnp.arange(audio.shape[0])
            batch = Batch(valid=valid, example_id=ids, audio_1=audio, length_1=lengths)
            found: Any = module.apply(variables, batch, method="embed")
            return found.astype(jnp.float32)

        self._embed = embed

    def __call__(self, windows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Windows [b n], b at most `size`, and the valid samples of each -> embeddings [b d]."""
        count = len(windows)
        padding = (0, self.size - count)
        audio = np.pad(windows, (padding, (0, 0)))
        given = jax.device_put((audio, np.pad(lengths, padding)), self._rows)
        return np.asarray(self._embed(self._variables, *given))[:count]


def check_caches(
    sources: Iterable[DataConfig], experiment: Experiment, held: Callable[[], Variables]
) -> None:
    """`check_cache` for those of `sources` that are cached embeddings, with the encoder of the
    variables that `held` gives."""
    for source in map(heard_of, sources):
        if isinstance(source, CachedEmbeddings):
            tagger, variables = clip_encoder(experiment.model, held())
            check_cache(source.path, tagger, variables, experiment.data.encode)


def check_cache(path: str, tagger: Tagger, variables: Variables, encode: EncodeConfig) -> None:
    """Raise ConfigError unless the embeddings in `path` are those that this encoder would give.

    `variables` are those of `clip_encoder`. A few clips are read again where their audio is at
    hand; where it is not, that is said on stderr.
    """
    files = EmbeddingFiles.at(path)
    about = files.about()
    if about is None:
        raise ConfigError(f"{path} holds no embeddings: write them with `adiff data embed`")
    leaves = jax.tree.leaves(variables)
    if not leaves or any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        raise ConfigError(
            f"{path} holds embeddings of a trained encoder, but this run starts from a new one: "
            "name the run that they were made with in `start`, or with --init"
        )
    here = embeddings_of(tagger, variables, encode)
    for name, value in here["audio"].items():
        if about["audio"].get(name) != value:
            raise ConfigError(
                f"{path} was made with data.encode.{name} {about['audio'].get(name)!r}, this "
                f"experiment has {value!r}: set it to the same, or write another cache with "
                "`adiff data embed`"
            )
    if about["encoder"] != here["encoder"]:
        raise ConfigError(
            f"{path} holds embeddings of another encoder than the one this run starts from: start "
            f"from {about['encoder_run']}, which made them, or write another cache with `adiff "
            "data embed --encoder`"
        )
    _spot_check(files, about)


def _spot_check(files: EmbeddingFiles, about: Mapping[str, Any]) -> None:
    places = files.clip_places()
    kept = stored_clips(files, about["shards"])
    chosen = np.unique(np.linspace(0, len(places) - 1, SPOT_CHECKED).astype(int))
    try:
        source = open_data(source_from_json(json.dumps(about["source"])))
        read = HashClips(source, groups(places[number] for number in chosen))
        found = [digest for index in range(len(read.groups)) for digest in read(index)]
    except (OSError, ValueError, RuntimeError) as error:
        note(f"{files.path}: not compared with the audio, which cannot be read ({error})")
        return
    pairs = zip(chosen, found, strict=True)
    differing = [places[number].name for number, sha256 in pairs if kept[number].sha256 != sha256]
    if differing:
        raise ConfigError(changed_clips(files, differing, len(chosen)))


def stored_clips(files: EmbeddingFiles, shards: int) -> list[StoredClip]:
    """Every clip of a finished cache by its number."""
    return [clip for shard in range(shards) for clip in files.shard_clips(shard, shards)]


def changed_clips(files: EmbeddingFiles, names: list[str], of: int) -> str:
    """The sentence about clips whose samples are not those that were encoded."""
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return (
        f"{files.path}: {len(names)} of {of} clips compared are not what was encoded: {shown}; "
        "restore their audio, or encode them again with `adiff data embed --refresh`"
    )


def clips_of_shard(places: list[ClipPlace], shard: int, shards: int) -> tuple[ClipPlace, ...]:
    """The clips of a shard, in order."""
    within = shard_range(shard, shards, len(places))
    return tuple(places[within.start : within.stop])
