"""`adiff_jax.load(run)`: a trained model as a Python call on two recordings, or on one.

    explainer = adiff_jax.load("runs/demo")
    explanation = explainer("before.wav", "after.wav", decode="beam:4", n_best=3)
    print(explanation.text, explanation.score, explanation.seconds)

Models that read a prompt are asked for a tier, for captions of the clips, or in free words, and
several pairs are answered in one batch:

    explainer = adiff_jax.load("runs/adiff")
    explainer("a.wav", "b.wav", tier=3).text
    explainer("a.wav", "b.wav", caption="both").events[0]
    [said.text for said in explainer.many([("a.wav", "b.wav"), ("c.wav", "d.wav")], tier=1)]

A model of single clips is called with one: `adiff_jax.load("runs/cl4ac")("street.wav").text`. A run
directory needs nothing beside it: experiment, tokenizer and weights come from there.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike, fspath
from typing import Any

import jax
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.attention_span import last_attention
from adiff_jax.audio.io import AudioError, check_wave, read_audio
from adiff_jax.data.prompts import question
from adiff_jax.data.schema import Example
from adiff_jax.decode.beam import Beam
from adiff_jax.decode.generate import Strategy, generate, parse_strategy
from adiff_jax.evaluate.unsupported import Measured, trusted, unsupported
from adiff_jax.explanation import Explanation
from adiff_jax.listening import Listened, Listener
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.build import FrameEncoder
from adiff_jax.run import Trained, load_trained

Clip = str | PathLike[str] | np.ndarray
_NTH = {1: "first", 2: "second"}


class Explainer:
    """A loaded run; call it with as many clips as the model hears, each a path or a wave [n] at
    the model's rate."""

    def __init__(self, trained: Trained) -> None:
        tokenizer = trained.parts.tokenizer
        if tokenizer is None:
            raise ValueError(f"{trained.directory.path} is a tagger: it has no sentences to say")
        if not trained.parts.clips:
            raise ValueError(f"{trained.directory.path} is a language model: it hears nothing")
        self.trained = trained
        self.experiment = trained.parts.experiment
        self.tokenizer = tokenizer
        self._encode = replace(trained.parts.encode, targets=False)
        self._listener: Listener | None = None
        if isinstance(self.experiment.model, Adiff):
            self._listener = Listener(trained.parts.objective.module, trained.variables)

    @cached_property
    def warned(self) -> Measured | None:
        """How right `Explanation.unsupported` was where `adiff evaluate` measured it on this run;
        None when it did not, or it is not right often enough to be shown."""
        return trusted(self.trained.directory.unsupported, self.trained.step)

    @property
    def rate(self) -> int:
        """Sampling rate that waves given as arrays must have, Hz."""
        return self.experiment.data.encode.rate

    @property
    def usual_decode(self) -> str:
        """How this kind of model is best decoded."""
        return "beam:4" if self._listener is None else "greedy"

    @property
    def clips(self) -> int:
        """How many clips an answer is about, 2 or 1."""
        return self.trained.parts.clips

    @property
    def compares_frames(self) -> bool:
        """Whether the model compares clips frame by frame, so that there is attention to show."""
        return isinstance(self.experiment.model, Adc)

    @property
    def frame_seconds(self) -> float:
        """Seconds between the encoder's output frames. Raises ValueError for models that hear a
        clip as one vector."""
        encoder = _framed(self.experiment.model)
        return encoder.frontend.frame_seconds * encoder.stride

    def __call__(
        self,
        first: Clip,
        second: Clip | None = None,
        *,
        tier: int | None = None,
        caption: str = "",
        prompt: str = "",
        decode: str = "",
        n_best: int = 1,
        seed: int = 0,
        whole: bool = False,
    ) -> Explanation:
        """Say how `second` differs from `first`, or what is heard in the one clip.

        `tier`, `caption` or `prompt` is what a model that reads prompts is asked (see `question`).
        `decode` is "greedy", "beam:4", "sample:0.8"; by default what the kind of model is best
        used with; `n_best` above 1 needs a beam of that size. `whole` hears all of a long
        recording instead of its middle.

        Raises AudioError for a clip that cannot be used, ValueError for a bad argument.
        """
        asked: dict[str, Any] = {"tier": tier, "caption": caption, "prompt": prompt}
        how: dict[str, Any] = {"decode": decode, "n_best": n_best, "seed": seed, "whole": whole}
        return self.many([(first,) if second is None else (first, second)], **asked, **how)[0]

    def many(
        self,
        pairs: Sequence[tuple[Clip, ...]],
        *,
        tier: int | None = None,
        caption: str = "",
        prompt: str = "",
        decode: str = "",
        n_best: int = 1,
        seed: int = 0,
        whole: bool = False,
        numbers: Sequence[int] = (),
    ) -> list[Explanation]:
        """The same for several pairs or clips in one batch; `seconds` is the batch's time.

        What is sampled for one depends on `seed` and its number, by default its place.
        """
        if not pairs:
            return []
        start = time.perf_counter()
        strategy = self._strategy(decode, n_best)
        asked = self.asked(tier, caption, prompt, whole)
        batch, notes, heard = self.batch(pairs, asked, whole)
        if numbers:
            batch = replace(batch, example_id=np.asarray(numbers, np.int32))
        found = generate(
            self.trained.parts.objective.module,
            self.trained.variables,
            batch,
            strategy,
            max_tokens=self.experiment.data.encode.max_tokens,
            rooms=self.experiment.data.encode.buckets,
            stop_ids=self._encode.stop_ids,
            silent_ids=self.trained.parts.silent_ids,
            hear_singly=self.trained.parts.hears_singly,
            key=jax.random.key(seed),
        )
        tokens, mask, scores = map(np.asarray, (found.tokens, found.mask, found.logprob))
        seconds = time.perf_counter() - start
        said = []
        for row in range(len(pairs)):
            ranked = tuple(
                (self.tokenizer.decode(ids[kept].tolist()), float(score))
                for ids, kept, score in zip(tokens[row], mask[row], scores[row], strict=True)
                if np.isfinite(score)
            )
            if not ranked:
                raise ValueError(f"{self.trained.directory.path}: no sentence has a finite score")
            explanation = Explanation(*ranked[0], ranked, seconds, notes[row], asked)
            if heard is not None and (names := self.trained.parts.classes):
                both = heard.of_pair(row)
                weak = unsupported(explanation.text, names, both.events)
                explanation = replace(explanation, events=both.ranked(names), unsupported=weak)
            said.append(explanation)
        return said

    def attention(self, first: Clip, second: Clip) -> np.ndarray:
        """Attention of the last comparison layer, mean over heads, [s s] over [clip 1; clip 2].

        Raises ValueError for models that hear a clip as one vector.
        """
        _framed(self.experiment.model)
        batch, _, _ = self.batch([(first, second)])
        module = self.trained.parts.objective.module
        return np.asarray(last_attention(module, self.trained.variables, batch)[0])

    def wave(self, clip: Clip) -> np.ndarray:
        """The clip as float32 [n] at `rate`; AudioError when it cannot be used."""
        if isinstance(clip, np.ndarray):
            if not np.issubdtype(clip.dtype, np.floating):
                raise AudioError(
                    f"the array given as a clip holds {clip.dtype}: give floats within ±1 (16-bit "
                    "samples divided by 32768)"
                )
            check_wave(clip, "the array given as a clip")
            return clip.astype(np.float32)
        encode = self.experiment.data.encode
        return read_audio(fspath(clip), self.rate, encode.channels, encode.resampler)

    def heard(self, clip: Clip, number: int = 1) -> np.ndarray:
        """What the model hears of the first or second clip: all, or one window of a long one."""
        wave = self.wave(clip)
        windows, lengths = self._encode.heard(wave, False, (number,))
        return windows[0, : min(len(wave), lengths[0])]

    def _strategy(self, decode: str, n_best: int) -> Strategy:
        strategy = parse_strategy(decode or self.usual_decode)
        if n_best < 1:
            raise ValueError(f"n_best={n_best}: it must be at least 1 sentence")
        if n_best == 1:
            return strategy
        if not isinstance(strategy, Beam) or strategy.size < n_best:
            raise ValueError(f"n_best={n_best} needs decode='beam:{n_best}' or a wider beam")
        return replace(strategy, n_best=n_best)

    def asked(self, tier: int | None, caption: str, prompt: str, whole: bool) -> str:
        """The prompt of a call, "" for a model that reads none.

        Raises ValueError for what this model cannot be asked.
        """
        run = self.trained.directory.path
        if self._listener is not None:
            return question(tier, caption, prompt)
        if tier is not None or caption or prompt:
            raise ValueError(f"{run} reads no prompt: leave out tier, caption and prompt")
        if whole:
            raise ValueError(f"{run} hears clips frame by frame: recordings cannot be heard whole")
        return ""

    def batch(
        self, pairs: Sequence[tuple[Clip, ...]], prompt: str = "", whole: bool = False
    ) -> tuple[Batch, list[tuple[str, ...]], Listened | None]:
        """Pairs (or clips) as a batch, notes on clips that were cropped, and what is heard in the
        clips of a model that hears each by itself.

        Raises ValueError for another number of clips than the model hears.
        """
        for given in pairs:
            if len(given) != self.clips:
                path = self.trained.directory.path
                wanted = ("one clip", "two clips")[self.clips - 1]
                raise ValueError(
                    f"{path} hears {wanted} at a time, not {len(given)}: give {wanted}"
                )
        waves = [tuple(map(self.wave, given)) for given in pairs]
        notes = [() if whole else self._cropped(pair) for pair in waves]
        if self._listener is None:
            examples, heard = [Example("pair", pair, self.rate) for pair in waves], None
        else:
            heard = self._listener(
                [
                    self._encode.heard(wave, whole, (number,))
                    for pair in waves
                    for number, wave in enumerate(pair, start=1)
                ]
            )
            both = heard.embeddings.reshape(len(pairs), 2, 1, -1)
            examples = [
                Example("pair", (), self.rate, features=(one, two), prompt=prompt)
                for one, two in both
            ]
        rows = [self._encode(example, index) for index, example in enumerate(examples)]
        arrays = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
        return Batch(**arrays), notes, heard

    def _cropped(self, waves: tuple[np.ndarray, ...]) -> tuple[str, ...]:
        limit = self.experiment.data.encode.samples
        seconds = f"{limit / self.rate:g} s"
        random = self.experiment.data.encode.compat  # the published code's crop
        kept = f"{seconds} of it from a random start" if random else f"its middle {seconds}"
        notes = []
        for number, wave in enumerate(waves, start=1):
            if len(wave) > limit:
                clip = f"the {_NTH[number]} clip" if self.clips == 2 else "the clip"
                silent, used = (
                    not self.heard(wave, number).any(),
                    ("heard", "compared")[self.clips - 1],
                )
                end = f"{used}, and are silent" if silent else used
                notes.append(f"{clip} is {len(wave) / self.rate:.1f} s long; {kept} are {end}")
                if silent and self._listener is not None:
                    notes.append(f"hear all of {clip} with --windows (whole=True)")
        return tuple(notes)


def _framed(model: object) -> FrameEncoder:
    """The encoder of a model that compares clips frame by frame; ValueError for another."""
    if not isinstance(model, Adc):
        raise ValueError("this model does not compare frames: there is no attention over time")
    return model.encoder


def load(run: str | PathLike[str]) -> Explainer:
    """The best checkpoint of a run directory. Raises RunDirectoryError when it is none."""
    return Explainer(load_trained(fspath(run)))
