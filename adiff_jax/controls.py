"""A trained model that is kept from hearing, to see how much of an answer the clips are worth.

    shuffled-audio    every example hears the clips of another one (`data/controls.py`)
    zero-prefix       the vectors that ADIFF's mappers make of the clips are zero
    random-encoder    what encodes the clips is as it was before any training

In training the same three are `Shuffled(...)` as `data.train` and `data.validation`,
`model.zero_prefix`, and a `start` that names no tagger.
"""

from dataclasses import replace
from typing import Any, Literal

import jax
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.data.controls import PairConfig, Shuffled
from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.data.features import CachedPairs
from adiff_jax.data.pipeline import load_row
from adiff_jax.experiment import ConfigError, DataConfig, Split, heard_of
from adiff_jax.models.adiff import Adiff
from adiff_jax.opened import open_data
from adiff_jax.parts import Parts
from adiff_jax.protocol import Variables

Control = Literal["shuffled-audio", "zero-prefix", "random-encoder"]

SEED = 0
"""Of the encoder that is drawn anew."""


def under_control(
    parts: Parts, variables: Variables, split: str, control: Control
) -> tuple[Parts, Variables]:
    """Parts and weights with which the model answers `split` under a control.

    Raises ConfigError for a control that means nothing to this model or split.
    """
    experiment, source = parts.experiment, parts.experiment.split(split)
    match control:
        case "shuffled-audio":
            if not isinstance(source, PairConfig):
                raise ConfigError(
                    f"--control shuffled-audio: split {split!r} is {type(source).__name__}, whose "
                    "clips cannot be given to other pairs"
                )
            return _with_split(parts, split, Shuffled(source)), variables
        case "zero-prefix":
            if not isinstance(experiment.model, Adiff):
                raise ConfigError(
                    f"--control zero-prefix: {type(experiment.model).__name__} has no prefix; "
                    "shuffled-audio and random-encoder are for it too"
                )
            silent = replace(experiment.model, zero_prefix=True)
            return replace(parts, experiment=replace(experiment, model=silent)), variables
        case "random-encoder":
            heard = heard_of(source)
            if isinstance(heard, CachedPairs | CachedEmbeddings):
                raise ConfigError(
                    f"--control random-encoder: split {split!r} is {type(heard).__name__}, which "
                    "asks no encoder; name a split of recordings"
                )
            return parts, _with_random_encoder(parts, variables, source)


def _with_split(parts: Parts, split: str, source: DataConfig) -> Parts:
    data = parts.experiment.data
    if split == "validation":
        data = replace(data, validation=source)
    else:
        test = (Split(split, source) if one.name == split else one for one in data.test)
        data = replace(data, test=tuple(test))
    return replace(parts, experiment=replace(parts.experiment, data=data))


def _with_random_encoder(parts: Parts, variables: Variables, source: DataConfig) -> Variables:
    name = "clips" if isinstance(parts.experiment.model, Adiff) else "encoder"
    row = load_row(open_data(source), replace(parts.encode, targets=False), 0)
    batch = Batch(**{field: np.asarray(value)[None] for field, value in row.items()})

    @jax.jit  # what is not returned is not computed
    def fresh(key: jax.Array, batch: Batch) -> dict[str, Any]:
        made: Any = parts.objective.module.init({"params": key}, batch, method="encode")
        return {collection: tree[name] for collection, tree in made.items() if name in tree}

    drawn = fresh(jax.random.key(SEED), batch)
    return {
        collection: {**tree, name: drawn[collection]} if collection in drawn else tree
        for collection, tree in variables.items()
    }
