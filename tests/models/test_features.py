"""What encoders are fed; what is proved of log-mel and augmentation stands in tests/audio."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.audio.frontends import log_mel
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.features import Augment, as_channels, clip_features

ENCODER = StridedByolA(mean=-7.0, std=3.0)
AUDIO = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4000)), jnp.float32)
LENGTHS = jnp.array([4000, 2000])


def test_features_are_normalised_by_the_statistics_of_the_configuration() -> None:
    features = clip_features(ENCODER, Augment(), AUDIO, LENGTHS, None)
    expected = (log_mel(ENCODER.frontend, AUDIO) + 7.0) / 3.0
    np.testing.assert_allclose(features, expected, rtol=1e-6)


def test_augmentation_needs_a_key_and_masks_normalised_features_with_zero() -> None:
    augment = Augment(spec=replace(Augment().spec, time_width=5))
    plain = clip_features(ENCODER, augment, AUDIO, LENGTHS, None)
    masked = clip_features(ENCODER, augment, AUDIO, LENGTHS, jax.random.key(3))
    changed = np.asarray(masked != plain)
    assert changed.any() and not changed.all()
    assert (np.asarray(masked)[changed] == 0).all()


def test_a_shifted_clip_keeps_its_length() -> None:
    augment = Augment(spec=replace(Augment().spec, time_width=0, mel_width=0), shift_seconds=0.1)
    padded = jnp.where(jnp.arange(4000) < LENGTHS[:, None], AUDIO, 0.0)
    shifted = clip_features(ENCODER, augment, padded, LENGTHS, jax.random.key(3))
    silence = clip_features(ENCODER, augment, jnp.zeros_like(AUDIO), LENGTHS, None)
    frontend = ENCODER.frontend
    past = -(-(2000 + frontend.window // 2) // frontend.hop)  # windows that hear padding alone
    np.testing.assert_array_equal(shifted[1, past:], silence[1, past:])
    assert (shifted[1, :5] != silence[1, :5]).all()


def test_missing_channels_are_zero_and_surplus_ones_are_refused() -> None:
    one, two = jnp.ones((1, 2, 3)), jnp.full((1, 2, 3), 2.0)
    stacked = as_channels([one, two], 3)
    assert stacked.shape == (1, 2, 3, 3)
    assert stacked[0, 0, 0].tolist() == [1.0, 2.0, 0.0]
    with pytest.raises(ValueError, match=r"has 1 input channel\(s\) but is given 2"):
        as_channels([one, two], 1)
