"""`adiff data statistics`: mean and standard deviation of the log-mel over a training source.

Encoders normalise their input by two scalars that stand in the experiment (`model.encoder.mean`,
`model.encoder.std`); this says what they are for new recordings or another frontend.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from adiff_jax.audio.frontends import frame_lengths, log_mel
from adiff_jax.data.transforms import Encode
from adiff_jax.experiment import ConfigError, Experiment
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.opened import open_data


def log_mel_statistics(experiment: Experiment, examples: int = 128) -> tuple[float, float]:
    """(mean, standard deviation) over all valid frames and bins of the first training examples.

    Raises ConfigError for an encoder that learns them.
    """
    if isinstance(experiment.model, LanguageModel):
        raise ConfigError("model is LanguageModel, which hears nothing to be measured")
    encoder = experiment.model.encoder
    if isinstance(encoder, Htsat | Cnn10):
        raise ConfigError(
            f"{experiment.encoder_field} is {type(encoder).__name__}, which has no mean and std: "
            "its batch norm learns them per mel bin in training, so there is nothing to set"
        )
    source = open_data(experiment.data.train)
    frontend = encoder.frontend
    encode = Encode(experiment.data.encode)
    features = jax.jit(lambda audio: log_mel(frontend, audio))
    count, total, squares = 0, 0.0, 0.0
    for index in tqdm(range(min(examples, len(source))), desc="statistics", disable=None):
        row = encode(source[index], index)
        for clip in ("1", "2"):
            if f"audio_{clip}" not in row:
                continue
            audio, length = np.asarray(row[f"audio_{clip}"]), jnp.asarray(row[f"length_{clip}"])
            frames = int(frame_lengths(frontend, length[None])[0])
            values = np.asarray(features(audio[None])[0, :frames], np.float64)
            count += values.size
            total += values.sum()
            squares += (values**2).sum()
    mean = total / count
    return float(mean), math.sqrt(squares / count - mean**2)
