"""Statistics of the log-mel over a training source."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax import demo
from adiff_jax.audio.frontends import log_mel
from adiff_jax.experiment import ConfigError
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.tagger import Tagger
from adiff_jax.normalisation import log_mel_statistics
from adiff_jax.opened import open_data


def test_mean_and_deviation_are_those_of_all_bins_of_both_clips() -> None:
    experiment = demo.get_config()
    train = replace(experiment.data.train, size=3)
    experiment = replace(experiment, data=replace(experiment.data, train=train))
    source, frontend = open_data(train), experiment.model.encoder.frontend
    clips = np.stack([wave for index in range(3) for wave in source[index].waves])
    values = np.asarray(log_mel(frontend, jnp.asarray(clips)), np.float64)

    mean, deviation = log_mel_statistics(experiment)

    assert mean == pytest.approx(values.mean(), abs=1e-4)
    assert deviation == pytest.approx(values.std(), abs=1e-4)


def test_an_encoder_that_learns_them_is_refused() -> None:
    experiment = demo.get_config()
    encode = replace(experiment.data.encode, rate=Htsat().frontend.rate)
    experiment = replace(
        experiment,
        model=Tagger(encoder=Htsat()),
        data=replace(experiment.data, encode=encode),
    )
    with pytest.raises(ConfigError, match="Htsat, which has no mean and std"):
        log_mel_statistics(experiment)
