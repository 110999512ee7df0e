"""Example -> the arrays of one row of a batch; numpy only.

Audio is resampled to the model's rate, cropped from its centre or padded with zeros to a fixed
length, and carries its true length. Text becomes target ids with the end token, and a mask.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import soxr

from adiff_jax.data.schema import Edit, Example, TextEncoder

Row = dict[str, np.ndarray | np.generic]
"""One row of a batch: `adiff_jax.data.schema.Arrays` without the batch axis."""


@dataclass(frozen=True)
class EncodeConfig:
    """Shape of a row: `seconds` of audio at `rate` Hz, at most `max_tokens` target tokens."""

    seconds: float = 10.0
    rate: int = 16_000
    max_tokens: int = 32

    @property
    def samples(self) -> int:
        """Samples of a clip after cropping and padding."""
        return round(self.seconds * self.rate)


@dataclass(frozen=True)
class Encode:
    """Turns an `Example` into one row of the arrays of `adiff_jax.arrays.Batch`.

    Without a `tokenizer` no text is encoded, without `classes` no labels are: the row then lacks
    those keys. `labels` follow the order of `classes`.
    """

    config: EncodeConfig
    tokenizer: TextEncoder | None = None
    classes: tuple[str, ...] = ()

    def __call__(self, example: Example, index: int, draw: int | None = None) -> Row:
        """One row, `valid`.

        `index` is the example's place in its source and becomes `example_id`. `draw` is a random
        integer that picks one of the captions (training); None takes the fair one, or no tokens
        at all where there is none (evaluation).

        Errors: ValueError that says what is wrong with the example.
        """
        clips = example.features or example.waves
        if len(clips) not in (1, 2):
            raise ValueError(f"holds {len(clips)} clips; one or two are expected")
        row: Row = {
            "valid": np.bool_(True),
            "example_id": np.int32(index),
            "scene_id": scene_id(example),
            "changed": np.bool_(example.edits != (Edit("none"),)),
        }
        for number, frames in enumerate(example.features, start=1):
            row[f"features_{number}"] = frames
            row[f"length_{number}"] = np.int32(len(frames))
        for number, wave in enumerate(example.waves, start=1):
            audio, length = self._fit(wave, example.rate)
            row[f"audio_{number}"], row[f"length_{number}"] = audio, length
        if self.tokenizer is not None:
            row["tokens"], row["tokens_mask"] = self._tokens(self.tokenizer, example, draw)
        if self.classes:
            row["labels"] = self._labels(example)
        return row

    def _fit(self, wave: np.ndarray, rate: int) -> tuple[np.ndarray, np.int32]:
        if wave.ndim != 1 or wave.size == 0:
            raise ValueError(f"a clip has shape {wave.shape}; a non-empty mono wave is expected")
        if not np.isfinite(wave).all():
            raise ValueError("a clip contains NaN or infinite samples; check or remove its file")
        if rate != self.config.rate:
            wave = soxr.resample(wave, rate, self.config.rate)
            if wave.size == 0:
                raise ValueError(f"a clip is shorter than one sample at {self.config.rate} Hz")
        size = self.config.samples
        kept = middle(wave, size)
        audio = np.zeros(size, np.float32)
        audio[: len(kept)] = kept
        return audio, np.int32(len(kept))

    def _tokens(
        self, tokenizer: TextEncoder, example: Example, draw: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.zeros(self.config.max_tokens, np.int32)  # the mask, not the id, tells padding
        mask = np.zeros(self.config.max_tokens, bool)
        if example.captions:
            if draw is None:
                caption = fair_caption(example.id, example.captions)
            else:
                caption = example.captions[draw % len(example.captions)]
            ids = [*tokenizer.encode(caption), tokenizer.end_id]
            if len(ids) > len(tokens):
                raise ValueError(_too_long(caption, len(ids), len(tokens)))
            tokens[: len(ids)] = ids
            mask[: len(ids)] = True
        elif draw is not None:
            raise ValueError("has no caption to train on")
        return tokens, mask

    def _labels(self, example: Example) -> np.ndarray:
        unknown = sorted(set(example.labels) - set(self.classes))
        if unknown:
            raise ValueError(
                f"label {unknown[0]!r} is not among the classes {', '.join(self.classes)}"
            )
        return np.array([name in example.labels for name in self.classes], np.float32)


def middle(wave: np.ndarray, size: int) -> np.ndarray:
    """The middle `size` samples of `wave` [n]; all of it when it has no more."""
    start = max(0, (len(wave) - size) // 2)
    return wave[start : start + size]


def scene_id(example: Example) -> np.int32:
    """A number that is equal for examples of equal, non-empty `scene` and else the example's own.

    31 bits of a CRC: two of 64 scenes in a batch collide about once in a million batches, and
    then one negative is left out.
    """
    text = f"scene:{example.scene}" if example.scene else f"id:{example.id}"
    return np.int32(zlib.crc32(text.encode()) & 0x7FFFFFFF)


def fair_caption(example_id: str, captions: Sequence[str]) -> str:
    """One of the captions of an example, always the same one, by its id.

    Not the first: published captions may be sorted within a row (those of AudioDiffCaps are).
    """
    return captions[zlib.crc32(example_id.encode()) % len(captions)]


def check_lengths(config: EncodeConfig, tokenizer: TextEncoder, texts: Iterable[str]) -> None:
    """Refuse, before anything is trained, captions that do not fit into `max_tokens`.

    Errors: ValueError that names the longest caption and the `max_tokens` that would hold it.
    """
    longest, size = "", 0
    for text in texts:
        needed = len(tokenizer.encode(text)) + 1
        if needed > size:
            longest, size = text, needed
    if size > config.max_tokens:
        raise ValueError(_too_long(longest, size, config.max_tokens))


def _too_long(caption: str, needed: int, limit: int) -> str:
    return (
        f"caption {caption!r} takes {needed} tokens with its end, but max_tokens is {limit}; "
        f"set it to at least {needed} or shorten the caption"
    )
