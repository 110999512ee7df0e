"""What is heard in a clip, written down: the scene graph that the renderer turns into audio.

A scene names recordings and says where, how long and how loud each is heard. It holds no sample
rate and nothing measured on audio, so the same recipe gives the same scene on every machine.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Layer:
    """One background recording, heard throughout and looped if it is short.

    `position` in [0, 1) is where in the recording the clip starts; `level_db` its loudness over
    the scene's reference.
    """

    label: str
    recording: str
    position: float
    level_db: float = 0.0


@dataclass(frozen=True)
class Event:
    """One foreground sound. `position` in [0, 1) picks the part of the recording that is heard,
    among those that contain its loudest moment; `duration` is cut to what the recording has."""

    label: str
    recording: str
    onset: float  # s
    duration: float  # s
    snr_db: float  # loudness over the scene's reference
    position: float


@dataclass(frozen=True)
class Channel:
    """What the recording chain did to a clip; a difference between two channels is no edit.

    `equaliser_db` are gains at 125, 500, 2000 and 8000 Hz; `noise_db` the level of white noise
    relative to the clip's own; `noise_seed` makes it reproducible.
    """

    gain_db: float
    equaliser_db: tuple[float, float, float, float]
    noise_db: float
    noise_seed: int


@dataclass(frozen=True)
class Scene:
    """One clip: `reference_db` is the loudness (LUFS) of an unedited background layer."""

    duration: float  # s
    reference_db: float
    background: tuple[Layer, ...]
    events: tuple[Event, ...]
    channel: Channel | None = None

    def labels(self) -> tuple[str, ...]:
        """Every class heard, backgrounds included, sorted and without repetition."""
        background = {layer.label for layer in self.background}
        return tuple(sorted(background | {event.label for event in self.events}))

    def recordings(self) -> tuple[str, ...]:
        """Names of the recordings heard, sorted and without repetition."""
        background = {layer.recording for layer in self.background}
        return tuple(sorted(background | {event.recording for event in self.events}))

    def to_json(self) -> str:
        """One line with sorted keys: the description that hashes are taken of."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        """The scene that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        channel = fields.pop("channel")
        if channel is not None:
            channel["equaliser_db"] = tuple(channel["equaliser_db"])
        return cls(
            background=tuple(Layer(**layer) for layer in fields.pop("background")),
            events=tuple(Event(**event) for event in fields.pop("events")),
            channel=None if channel is None else Channel(**channel),
            **fields,
        )


def description_hash(descriptions: Iterable[str]) -> str:
    """SHA-256, in hex, over descriptions in order, one a line."""
    digest = hashlib.sha256()
    for description in descriptions:
        digest.update(description.encode() + b"\n")
    return digest.hexdigest()
