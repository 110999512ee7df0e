"""What ADIFF's clip encoder hears in recordings of any length: embeddings, and which events.

A model hears a window of fixed length. Of a longer recording that is its middle, or, heard whole,
all of its windows: their embeddings are averaged, of an event the most certain window counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.data.windows import at_random, middle, tiled, windows
from adiff_jax.models.adiff import AdiffModel
from adiff_jax.models.tagger import Heard
from adiff_jax.protocol import Variables


@dataclass(frozen=True)
class Listened:
    """Of n recordings: embeddings [n d] float32, and probabilities of the events [n c]."""

    embeddings: np.ndarray
    events: np.ndarray


@partial(jax.jit, static_argnames="model")
def _hear(
    model: AdiffModel, variables: Variables, audio: jax.Array, lengths: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def listen(module: AdiffModel) -> Heard:
        return module.clips.listen(audio, lengths, jnp.ones(len(audio), bool))

    heard = model.apply(variables, method=listen)
    return heard.embedding, jax.nn.sigmoid(heard.logits)  # type: ignore[union-attr]


def heard_windows(
    wave: np.ndarray, encode: EncodeConfig, whole: bool, key: Sequence[int] = (0,)
) -> list[np.ndarray]:
    """The windows of a recording [n] that are heard, each as long as the model's.

    All of them if it is heard `whole`; else one, its middle, or where `key` draws it in the crops
    of ADIFF's published code.
    """
    size = encode.samples
    if whole:
        kept = windows(wave, size)
    elif encode.compat:
        kept = [at_random(wave, size, (encode.crop_seed, *key))]
    else:
        kept = [middle(wave, size)]
    return [tiled(window, size) if encode.short == "tile" else window for window in kept]


class Listener:
    """The clip encoder of a model, over `batch` windows of `samples` at a time."""

    def __init__(
        self, model: AdiffModel, variables: Variables, samples: int, batch: int = 8
    ) -> None:
        self._hear = partial(_hear, model, variables)
        self._shape = (batch, samples)

    def __call__(self, recordings: Sequence[Sequence[np.ndarray]]) -> Listened:
        """Recordings, each as its windows; see `heard_windows`."""
        flat = [window for recording in recordings for window in recording]
        step = self._shape[0]
        found = [self._batch_of(flat[at : at + step]) for at in range(0, len(flat), step)]
        embeddings, events = (np.concatenate(rows) for rows in zip(*found, strict=True))
        ends = np.cumsum([len(recording) for recording in recordings])[:-1]
        return Listened(
            np.stack([rows.mean(axis=0) for rows in np.split(embeddings, ends)]),
            np.stack([rows.max(axis=0) for rows in np.split(events, ends)]),
        )

    def _batch_of(self, given: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings and events of at most a batch of windows; one shape is compiled."""
        audio, lengths = np.zeros(self._shape, np.float32), np.zeros(self._shape[0], np.int32)
        for row, window in enumerate(given):
            audio[row, : len(window)] = window
            lengths[row] = len(window)
        embeddings, events = self._hear(audio, lengths)
        return np.asarray(embeddings)[: len(given)], np.asarray(events)[: len(given)]
