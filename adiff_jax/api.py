"""`adiff_jax.load(run)`: a trained model as a Python call on two recordings.

    explainer = adiff_jax.load("runs/demo")
    explanation = explainer("before.wav", "after.wav", decode="beam:4", n_best=3)
    print(explanation.text, explanation.score, explanation.seconds)

A run directory needs nothing beside it: experiment, tokenizer and weights come from there.
"""

import time
from dataclasses import dataclass, replace
from os import PathLike, fspath

import jax
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.attention_span import last_attention
from adiff_jax.audio.io import AudioError, check_wave, read_audio
from adiff_jax.data.schema import Example
from adiff_jax.data.windows import middle
from adiff_jax.decode.beam import Beam
from adiff_jax.decode.generate import Generation, generate, parse_strategy
from adiff_jax.models.adc import Adc
from adiff_jax.run import Trained, load_trained

Clip = str | PathLike[str] | np.ndarray


@dataclass(frozen=True)
class Explanation:
    """What the model says of one pair.

    `score` is the sum of the sentence's log-probabilities; `n_best` holds (text, score), best
    first; `seconds` is the wall time of the call, reading and compiling included; `notes` says
    what was done to a clip that did not fit.
    """

    text: str
    score: float
    n_best: tuple[tuple[str, float], ...]
    seconds: float
    notes: tuple[str, ...] = ()


class Explainer:
    """A loaded run; call it with two clips, each a path or a wave [n] at the model's rate."""

    def __init__(self, trained: Trained) -> None:
        tokenizer = trained.parts.tokenizer
        if tokenizer is None:
            raise ValueError(f"{trained.directory.path} is a tagger: it has no sentences to say")
        self.trained = trained
        self.experiment = trained.parts.experiment
        self.tokenizer = tokenizer
        self._encode = replace(trained.parts.encode, targets=False)

    @property
    def rate(self) -> int:
        """Sampling rate that waves given as arrays must have, Hz."""
        return self.experiment.data.encode.rate

    @property
    def frame_seconds(self) -> float:
        """Seconds between the encoder's output frames."""
        model = self.experiment.model
        assert isinstance(model, Adc)  # a tagger was refused
        encoder = model.encoder
        return encoder.frontend.frame_seconds * encoder.stride

    def __call__(
        self, first: Clip, second: Clip, *, decode: str = "beam:4", n_best: int = 1, seed: int = 0
    ) -> Explanation:
        """Say how `second` differs from `first`.

        `decode` is "greedy", "beam:4", "sample:0.8"; `n_best` above 1 needs a beam of that size.
        Raises AudioError for a clip that cannot be used, ValueError for a bad `decode`.
        """
        start = time.perf_counter()
        strategy = parse_strategy(decode)
        if n_best < 1:
            raise ValueError(f"n_best={n_best}: it must be at least 1 sentence")
        if n_best > 1:
            if not isinstance(strategy, Beam) or strategy.size < n_best:
                raise ValueError(f"n_best={n_best} needs decode='beam:{n_best}' or a wider beam")
            strategy = Beam(strategy.size, strategy.length_penalty, n_best)
        batch, notes = self.batch(first, second)
        generation: Generation = generate(
            self.trained.parts.objective.module,
            self.trained.variables,
            batch,
            strategy,
            max_tokens=self.experiment.data.encode.max_tokens,
            stop_ids=self._encode.stop_ids,
            silent_ids=self.trained.parts.silent_ids,
            key=jax.random.key(seed),
        )
        tokens, mask = np.asarray(generation.tokens)[0], np.asarray(generation.mask)[0]
        scores = np.asarray(generation.logprob)[0]
        ranked = tuple(
            (self.tokenizer.decode(row[kept].tolist()), float(score))
            for row, kept, score in zip(tokens, mask, scores, strict=True)
            if np.isfinite(score)
        )
        return Explanation(*ranked[0], ranked, time.perf_counter() - start, notes)

    def attention(self, first: Clip, second: Clip) -> np.ndarray:
        """Attention of the last comparison layer, mean over heads, [s s] over [clip 1; clip 2]."""
        batch, _ = self.batch(first, second)
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

    def heard(self, clip: Clip) -> np.ndarray:
        """The part of a clip that the model hears: all of it, or its middle when it is too long."""
        return middle(self.wave(clip), self.experiment.data.encode.samples)

    def batch(self, first: Clip, second: Clip) -> tuple[Batch, tuple[str, ...]]:
        """One pair as a batch of one, and notes on clips that were cropped."""
        waves = (self.wave(first), self.wave(second))
        limit = self.experiment.data.encode.samples
        seconds = f"{limit / self.rate:g} s"
        random = self.experiment.data.encode.compat  # the published code's crop
        kept = f"{seconds} of it from a random start" if random else f"its middle {seconds}"
        notes = tuple(
            f"the {name} clip is {len(wave) / self.rate:.1f} s long; {kept} are compared"
            for name, wave in zip(("first", "second"), waves, strict=True)
            if len(wave) > limit
        )
        row = self._encode(Example("pair", waves, self.rate), 0)
        return Batch(**{key: np.asarray(value)[None] for key, value in row.items()}), notes


def load(run: str | PathLike[str]) -> Explainer:
    """The best checkpoint of a run directory. Raises RunDirectoryError when it is none."""
    return Explainer(load_trained(fspath(run)))
