"""What ADIFF's clip encoder hears in recordings of any length: embeddings, and which events.

A model hears a window of fixed length. Of a longer recording that is its middle, or, heard whole,
all of its windows: their embeddings are averaged, of an event the most certain window counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from adiff_jax.data.pipeline import read_ahead
from adiff_jax.data.schema import Coverage, Example, Source, Truth, coverage_of
from adiff_jax.data.whole_clips import WholeClips
from adiff_jax.evaluate.gather import gather_each
from adiff_jax.models.adiff import AdiffModel
from adiff_jax.models.tagger import Heard
from adiff_jax.parts import Parts
from adiff_jax.protocol import Variables

Windows = tuple[np.ndarray, np.ndarray]
"""A recording as the windows [w n] that are heard of it, [w] samples of each valid."""

AT_ONCE = 8
"""Windows that a device hears at once."""

PAIR = 2
"""The same for a pair of short clips, which one need not wait for longer than they take."""


@dataclass(frozen=True)
class Listened:
    """Of n recordings: embeddings [n d] float32, and probabilities of the events [n c]."""

    embeddings: np.ndarray
    events: np.ndarray

    def of_pair(self, number: int) -> "Listened":
        """Of the two recordings of a pair, when they are all in pairs."""
        both = slice(2 * number, 2 * number + 2)
        return Listened(self.embeddings[both], self.events[both])

    def ranked(self, names: tuple[str, ...]) -> tuple[tuple[tuple[str, float], ...], ...]:
        """Of each recording (event, probability), most likely first."""
        return tuple(
            tuple((names[i], float(clip[i])) for i in np.argsort(-clip, kind="stable"))
            for clip in self.events
        )


@partial(jax.jit, static_argnames="model")
def _hear(
    model: AdiffModel, variables: Variables, audio: jax.Array, lengths: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def listen(module: AdiffModel) -> Heard:
        return module.clips.listen(audio, lengths, lengths > 0)

    heard: Any = model.apply(variables, method=listen)
    return heard.embedding.astype(jnp.float32), jax.nn.sigmoid(heard.logits.astype(jnp.float32))


class Listener:
    """The clip encoder of a model on some devices of this process, by default one."""

    def __init__(
        self, model: AdiffModel, variables: Variables, devices: Sequence[jax.Device] = ()
    ) -> None:
        mesh = Mesh(np.array(devices or jax.local_devices()[:1]), ("windows",))
        self._rows = NamedSharding(mesh, PartitionSpec("windows"))
        clips = {
            name: {"clips": tree["clips"]} for name, tree in variables.items() if "clips" in tree
        }
        self._hear = partial(
            _hear, model, jax.device_put(clips, NamedSharding(mesh, PartitionSpec()))
        )
        self.devices = mesh.size

    def __call__(self, recordings: Sequence[Windows]) -> Listened:
        """What is heard in recordings."""
        audio, lengths = (np.concatenate(parts) for parts in zip(*recordings, strict=True))
        step = (AT_ONCE if len(audio) > PAIR else PAIR) * self.devices
        found = [
            self._batch_of(audio[start : start + step], lengths[start : start + step], step)
            for start in range(0, len(audio), step)
        ]
        embeddings, events = (np.concatenate(rows) for rows in zip(*found, strict=True))
        ends = np.cumsum([len(windows) for windows, _ in recordings])[:-1]
        return Listened(
            np.stack([rows.mean(axis=0) for rows in np.split(embeddings, ends)]),
            np.stack([rows.max(axis=0) for rows in np.split(events, ends)]),
        )

    def _batch_of(
        self, audio: np.ndarray, lengths: np.ndarray, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings and events of at most `size` windows; one shape is compiled."""
        missing = size - len(audio)
        given = np.pad(audio, ((0, missing), (0, 0))), np.pad(lengths, (0, missing))
        embeddings, events = self._hear(*jax.device_put(given, self._rows))
        return np.asarray(embeddings)[: len(audio)], np.asarray(events)[: len(audio)]


class Whole:
    """Pairs of a source with the embeddings [n 2 d] of their whole clips in place of audio, and
    the probabilities [n 2 c] of the events in them. A `Source`."""

    def __init__(self, source: Source, embeddings: np.ndarray, events: np.ndarray) -> None:
        self.source, self.embeddings, self.events = source, embeddings, events

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        truth, (first, second) = self.truth(index), self.embeddings[index]
        return Example(
            id=truth.id,
            waves=(),
            rate=0,
            edits=truth.edits,
            prompt=truth.prompt,
            tier=truth.tier,
            features=(first[None], second[None]),
        )

    def truth(self, index: int) -> Truth:
        """Of the source."""
        return self.source.truth(index)

    def texts(self) -> Iterator[str]:
        """Of the source."""
        yield from self.source.texts()

    @property
    def coverage(self) -> Coverage | None:
        """Of the source."""
        return coverage_of(self.source)


def hear_whole(parts: Parts, variables: Variables, source: Source) -> Whole:
    """Every clip of a source heard whole, by all processes together: a collective.

    Raises ExampleError for a source of embeddings, whose clips are not there, and TypeError for
    another model than ADIFF.
    """
    module = parts.objective.module
    if not isinstance(module, AdiffModel):
        raise TypeError(f"{type(module).__name__} hears no clip whole")
    listener = Listener(module, variables, jax.local_devices())
    share = WholeClips(source, parts.encode, jax.process_index(), jax.process_count())
    loader = parts.experiment.data.loader
    enough, waiting, rows = AT_ONCE * listener.devices, list[dict[str, Any]](), list[dict]()

    def listen() -> None:
        clips = [(pair[f"audio_{i}"], pair[f"length_{i}"]) for pair in waiting for i in (1, 2)]
        heard = listener(clips)
        for place, pair in enumerate(waiting):
            both = heard.of_pair(place)
            rows.append(
                {
                    "id": int(pair["example_id"]),
                    "embeddings": both.embeddings.tolist(),
                    "events": both.events.tolist(),
                }
            )
        waiting.clear()

    hidden = None if jax.process_index() == 0 else True
    with tqdm(total=len(share), desc="listen", unit="pair", disable=hidden) as bar:
        for pair in read_ahead(share, len(share), loader):
            waiting.append(pair)
            if sum(len(one["audio_1"]) + len(one["audio_2"]) for one in waiting) >= enough:
                listen()
            bar.update()
    if waiting:
        listen()
    found = gather_each(rows, len(source))
    return Whole(
        source,
        *(np.array([row[name] for row in found], np.float32) for name in ("embeddings", "events")),
    )
