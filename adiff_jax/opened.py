"""The data that an experiment names, opened."""

from adiff_jax.data.controls import Shuffled, ShuffledSource
from adiff_jax.data.embeddings import CachedEmbeddings, EmbeddedSource
from adiff_jax.data.features import CachedPairs, CachedSource
from adiff_jax.data.schema import Source
from adiff_jax.data.sources import open_source
from adiff_jax.data.texts import Texts
from adiff_jax.experiment import DataConfig, Model
from adiff_jax.models.language_model import LanguageModel


def open_data(config: DataConfig) -> Source:
    """The source that `config` describes; ValueError names what is wrong with it."""
    match config:
        case CachedPairs():
            return CachedSource(config)
        case CachedEmbeddings():
            return EmbeddedSource(config)
        case Shuffled(pairs=pairs, seed=seed):
            return ShuffledSource(open_data(pairs), seed)
        case _:
            return open_source(config)


def open_for(model: Model, config: DataConfig) -> Source:
    """The source as the model reads it: for a language model, without clips."""
    source = open_data(config)
    return Texts(source) if isinstance(model, LanguageModel) else source
