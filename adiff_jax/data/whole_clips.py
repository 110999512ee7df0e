"""The clips of pairs as all the windows that a model hears of them, however long they are."""

from dataclasses import dataclass

import numpy as np

from adiff_jax.data.pipeline import load_row
from adiff_jax.data.schema import Example, Source
from adiff_jax.data.transforms import Encode, Row


@dataclass(frozen=True)
class WholeClips:
    """Examples `start`, `start + step`, ... of a source, each as `example_id`, `audio_1` [w n],
    `length_1` [w], `audio_2` [v n], `length_2` [v]. Plain data, for `pipeline.read_ahead`."""

    source: Source
    encode: Encode
    start: int = 0
    step: int = 1

    def __len__(self) -> int:
        return len(range(self.start, len(self.source), self.step))

    def __call__(self, place: int) -> Row:
        """Number `place` of them. Errors: ExampleError that names the example."""
        return load_row(self.source, self._windows, self.start + place * self.step)

    def _windows(self, example: Example, index: int, draw: int | None) -> Row:
        del draw
        if not example.waves:
            raise ValueError(
                "what an encoder made of its clips was kept, not the clips, which alone can be "
                "heard whole: answer without --windows, or name a split that is read from audio"
            )
        row: Row = {"example_id": np.int32(index)}
        for number, wave in enumerate(example.waves, start=1):
            found = self.encode.heard(self.encode.resampled(wave, example.rate), whole=True)
            row[f"audio_{number}"], row[f"length_{number}"] = found
        return row
