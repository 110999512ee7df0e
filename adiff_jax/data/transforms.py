"""Example -> the arrays of one row of a batch; numpy only.

Audio is resampled to the model's rate, cropped or filled up to a fixed length, and carries its true
length. Text becomes the ids of a prompt and of a target, each with a mask.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from adiff_jax.audio.io import Channels
from adiff_jax.audio.resample import Resampler, resample
from adiff_jax.data.identity import identity
from adiff_jax.data.lengths import too_long
from adiff_jax.data.negatives import Negatives
from adiff_jax.data.prompts import kind_of, paraphrase
from adiff_jax.data.schema import Edit, Example, TextEncoder
from adiff_jax.data.windows import at_random, middle, tiled, windows
from adiff_jax.data.wording import Compat, Wording, wording

_CROPS = 6  # the stream of random crops

Row = dict[str, np.ndarray | np.generic]
"""One row of a batch: `adiff_jax.data.schema.Arrays` without the batch axis."""


@dataclass(frozen=True)
class EncodeConfig:
    """Shape of a row: `seconds` of audio at `rate` Hz, at most `max_tokens` target tokens.

    A longer clip is cropped to its middle, or with `crop="random"` in training from a start drawn
    anew at every reading; a `short` one is padded with zeros, or tiled: repeated until it fills the
    window. With `prompt_tokens` a row says in as many ids what the model is
    asked; with `paraphrase` that is asked in other words at every reading, in training.

    With `buckets`, such as (64, 128, 280), a training batch has rows of one bucket: those whose
    captions fit into so many tokens and into no smaller bucket, and no longer than that.

    `compat="adiff-2025"` gives rows as ADIFF's published code does: texts as
    `data.wording.Adiff2025`, longer clips cropped at random (drawn by `crop_seed`, the example's
    id and the reading), resampled by a windowed sinc; files are to be read with `channels` and
    `resampler`.
    """

    seconds: float = 10.0
    rate: int = 16_000
    max_tokens: int = 32
    short: Literal["pad", "tile"] = "pad"
    crop: Literal["middle", "random"] = "middle"
    prompt_tokens: int = 0
    paraphrase: bool = False
    compat: Compat = ""
    crop_seed: int = 0
    buckets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.buckets and (
            list(self.buckets) != sorted({*self.buckets})
            or self.buckets[0] < 1
            or self.buckets[-1] != self.max_tokens
        ):
            raise ValueError(
                f"data.encode.buckets is {self.buckets}: give lengths that increase and end with "
                f"max_tokens, {self.max_tokens}"
            )
        for name in ("prompt_tokens", "crop_seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.encode.{name} is {getattr(self, name)}: give 0 or more")
        if self.paraphrase and not self.prompt_tokens:
            raise ValueError(
                "data.encode.paraphrase is on, but prompt_tokens is 0: nothing is asked; set "
                "prompt_tokens (ADIFF: 40)"
            )
        if self.compat and self.short != "tile":
            raise ValueError(
                f'data.encode.short is {self.short!r}, but compat="adiff-2025" tiles: set it to '
                '"tile"'
            )
        if self.compat and self.crop == "random":
            raise ValueError(
                'data.encode.crop is "random", but compat="adiff-2025" has crops of its own: leave '
                "it out"
            )
        if self.crop_seed and not self.compat:
            raise ValueError(
                f'data.encode.crop_seed is {self.crop_seed}, but only compat="adiff-2025" crops '
                "at random: leave it out"
            )

    @property
    def samples(self) -> int:
        """Samples of a clip after cropping and padding."""
        return round(self.seconds * self.rate)

    @property
    def channels(self) -> Channels:
        """What becomes of the channels of a file; see `audio.io.read_audio`."""
        return "concatenate" if self.compat else "mean"

    @property
    def resampler(self) -> Resampler:
        """How a clip comes to `rate`."""
        return "windowed-sinc" if self.compat else "soxr"


@dataclass(frozen=True)
class Encode:
    """Turns an `Example` into one row of the arrays of `adiff_jax.arrays.Batch`.

    Without a `tokenizer` no text is encoded, without `targets` no captions are, without `classes`
    no labels, and without `negatives` no sentences for the matching loss: the row then lacks those
    keys. `labels` follow the order of `classes`. `clips` is how many an example must hold; None
    takes one or two.
    """

    config: EncodeConfig
    tokenizer: TextEncoder | None = None
    classes: tuple[str, ...] = ()
    targets: bool = True
    clips: int | None = None
    negatives: Negatives | None = None

    @cached_property
    def _wording(self) -> Wording | None:
        tokenizer = self.tokenizer
        return None if tokenizer is None else wording(tokenizer, self.config.compat)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end a sentence; none without a tokenizer."""
        return self._wording.stop_ids if self._wording else ()

    def __call__(
        self, example: Example, index: int, draw: int | None = None, position: int = 0
    ) -> Row:
        """One row, `valid`.

        `index` is the example's place in its source and becomes `example_id`. `draw` is a random
        integer that picks one of the captions, one of the crops of every embedding, and, if
        wanted, a paraphrase of the prompt (training); None takes the fair caption, or no tokens at
        all where there is none, the centre crop, and the prompt as it is (evaluation). `position`
        is the row's place in all of training.

        Errors: ValueError that says what is wrong with the example.
        """
        clips = example.embeddings or example.features or example.waves
        if self.clips is None and len(clips) not in (1, 2):
            raise ValueError(f"holds {len(clips)} clips; one or two are expected")
        if self.clips and len(clips) != self.clips:
            raise ValueError(
                f"holds {_counted(len(clips))}, but the model hears {_counted(self.clips)} of an "
                "example: name data of its kind, or another model"
            )
        row: Row = {
            "valid": np.bool_(True),
            "example_id": np.int32(index),
            **identity(example),
            "changed": np.bool_(example.edits != (Edit("none"),)),
        }
        for number, frames in enumerate(example.features, start=1):
            row[f"features_{number}"] = frames
            row[f"length_{number}"] = np.int32(len(frames))
        for number, crops in enumerate(example.embeddings, start=1):
            crop = 0 if draw is None else _drawn_crop(draw, number, len(crops))
            row[f"features_{number}"] = crops[crop : crop + 1]
            row[f"length_{number}"] = np.int32(1)
        for number, wave in enumerate(example.waves, start=1):
            key = (zlib.crc32(example.id.encode()), number, draw or 0)
            audio, length = self._fit(wave, example.rate, key, draw)
            row[f"audio_{number}"], row[f"length_{number}"] = audio, length
        if self._wording and self.config.prompt_tokens:
            row["prompt"], row["prompt_mask"] = self._wording.prompt(
                self._asked(example, draw), self.config.prompt_tokens
            )
        if self._wording and self.targets:
            row["tokens"], row["tokens_mask"] = self._tokens(self._wording, example, draw)
            if self.negatives is not None:
                drawn = self.negatives(example, index, draw, position)
                row["negative_true"] = np.bool_(drawn.true)
                if self.negatives.made_of_text:
                    row["negative"], row["negative_mask"] = (
                        (row["tokens"], row["tokens_mask"])
                        if drawn.text is None
                        else self._padded(self._wording, drawn.text)
                    )
        if self.classes:
            row["labels"] = self._labels(example)
        return row

    def heard(
        self, wave: np.ndarray, whole: bool, key: Sequence[int] = (0,)
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is heard of a clip [n] at the model's rate: windows [w n] and how many samples of
        each are valid [w].

        All of them if it is heard `whole`; else one, its middle, or where `key` draws it in the
        crops of ADIFF's published code.
        """
        config, size = self.config, self.config.samples
        if whole:
            kept = windows(wave, size)
        elif config.compat:
            kept = [at_random(wave, size, (config.crop_seed, *key))]
        else:
            kept = [middle(wave, size)]
        filled, lengths = zip(*map(self.filled, kept), strict=True)
        return np.stack(filled), np.array(lengths)

    def resampled(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """`wave` [n] at `rate` Hz -> the same at the model's rate. ValueError unless it is a clip
        of finite samples."""
        if wave.ndim != 1 or wave.size == 0:
            raise ValueError(f"a clip has shape {wave.shape}; a non-empty mono wave is expected")
        if not np.isfinite(wave).all():
            raise ValueError("a clip contains NaN or infinite samples; check or remove its file")
        wave = resample(wave, rate, self.config.rate, self.config.resampler)
        if wave.size == 0:
            raise ValueError(f"a clip is shorter than one sample at {self.config.rate} Hz")
        return wave

    def filled(self, wave: np.ndarray) -> tuple[np.ndarray, np.int32]:
        """`wave` [n] of at most the window's samples -> the window, and how many are valid."""
        size = self.config.samples
        kept = tiled(wave, size) if self.config.short == "tile" else wave
        audio = np.zeros(size, np.float32)
        audio[: len(kept)] = kept
        return audio, np.int32(len(kept))

    def _fit(
        self, wave: np.ndarray, rate: int, key: tuple[int, ...], draw: int | None
    ) -> tuple[np.ndarray, np.int32]:
        wave = self.resampled(wave, rate)
        if self.config.crop == "random" and draw is not None:
            # The same start in both clips of a pair, where they are equally long.
            return self.filled(at_random(wave, self.config.samples, (draw, _CROPS)))
        audio, lengths = self.heard(wave, False, key)
        return audio[0], lengths[0]

    def _asked(self, example: Example, draw: int | None) -> str:
        if not example.prompt:
            raise ValueError(
                f"states no prompt, but data.encode.prompt_tokens is {self.config.prompt_tokens}: "
                "a model that is asked something needs Explanations of the pairs, or a SynthPairs "
                "with a tier"
            )
        if self.config.paraphrase and draw is not None:
            return paraphrase(kind_of(example.prompt), draw)
        return example.prompt

    def _tokens(
        self, form: Wording, example: Example, draw: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if example.captions:
            if draw is None:
                return self._padded(form, fair_caption(example.id, example.captions))
            return self._padded(form, example.captions[draw % len(example.captions)])
        if draw is not None:
            raise ValueError("has no caption to train on")
        size = self.config.max_tokens
        return np.zeros(size, np.int32), np.zeros(size, bool)

    def _padded(self, form: Wording, text: str) -> tuple[np.ndarray, np.ndarray]:
        """`text` with its end, and which of its places count."""
        tokens = np.zeros(self.config.max_tokens, np.int32)  # the mask, not the id, tells padding
        mask = np.zeros(self.config.max_tokens, bool)
        ids, counted = form.answer(text)
        if len(ids) > len(tokens):
            raise ValueError(too_long(text, len(ids), len(tokens)))
        tokens[: len(ids)] = ids
        mask[: len(ids)] = counted
        return tokens, mask

    def _labels(self, example: Example) -> np.ndarray:
        unknown = sorted(set(example.labels) - set(self.classes))
        if unknown:
            raise ValueError(
                f"label {unknown[0]!r} is not among the classes {', '.join(self.classes)}"
            )
        return np.array([name in example.labels for name in self.classes], np.float32)


def _drawn_crop(draw: int, number: int, crops: int) -> int:
    """The crop of clip `number`; bits of its own, as the caption takes those of `draw` itself."""
    return int(np.random.PCG64((draw, number)).random_raw()) % crops


def fair_caption(example_id: str, captions: Sequence[str]) -> str:
    """One of the captions of an example, always the same one, by its id.

    Not the first: published captions may be sorted within a row (those of AudioDiffCaps are).
    """
    return captions[zlib.crc32(example_id.encode()) % len(captions)]


def _counted(clips: int) -> str:
    return f"{clips} clip" if clips == 1 else f"{clips} clips"
