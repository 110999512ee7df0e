"""The log-mel frontends: precision, locality, lengths, silence."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.audio.frontends import (
    BYOLA,
    BYOLA_HTK,
    CL4AC,
    HTSAT,
    LogMel,
    frame_lengths,
    log_mel,
)
from tests.lowered import collectives, products

MESH = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
BY_ROW = NamedSharding(MESH, PartitionSpec("data"))
FRONTENDS = {"byola": BYOLA, "byola_htk": BYOLA_HTK, "htsat": HTSAT, "cl4ac": CL4AC}


def features_of(audio: np.ndarray, config: LogMel = BYOLA) -> np.ndarray:
    return np.asarray(jax.jit(partial(log_mel, config))(audio))


def noise(rows: int, samples: int) -> np.ndarray:
    return np.random.default_rng(samples).standard_normal((rows, samples)).astype(np.float32)


@pytest.mark.parametrize("config", FRONTENDS.values(), ids=FRONTENDS)
def test_every_row_stays_on_its_device(config: LogMel) -> None:
    frontend = jax.jit(partial(log_mel, config), in_shardings=BY_ROW, out_shardings=BY_ROW)
    compiled = frontend.lower(jax.ShapeDtypeStruct((8, 4000), jnp.float32)).compile()
    assert not collectives(compiled.as_text())


@pytest.mark.parametrize("config", FRONTENDS.values(), ids=FRONTENDS)
def test_every_product_states_highest_precision(config: LogMel) -> None:
    lowered = jax.jit(partial(log_mel, config)).lower(jnp.zeros((1, 4000)))
    found = products(lowered)
    assert len(found) == 5  # four of the folded transform, one of the mel filters
    assert all(product.highest for product in found)
    assert {product.type for product in found} == {"f32"}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_log_mel_is_float32_whatever_the_audio_is(dtype: jnp.dtype) -> None:
    audio = jax.ShapeDtypeStruct((1, 4000), dtype)
    assert jax.eval_shape(partial(log_mel, BYOLA), audio).dtype == jnp.float32


def test_silence_is_the_floor_of_the_logarithm() -> None:
    silence = np.zeros((1, 4000), np.float32)
    np.testing.assert_allclose(features_of(silence, HTSAT), -100.0, rtol=1e-6)
    np.testing.assert_allclose(features_of(silence), np.log(1.1920929e-07), rtol=1e-6)


@pytest.mark.parametrize("samples", [513, 1599, 1600, 1601])
def test_frames_says_how_many_there_are(samples: int) -> None:
    audio = jax.ShapeDtypeStruct((1, samples), jnp.float32)
    features = jax.eval_shape(partial(log_mel, BYOLA), audio)
    assert features.shape[1] == BYOLA.frames(samples)
    lengths = frame_lengths(BYOLA, jnp.array([samples, 1, 0]))
    assert lengths.tolist() == [BYOLA.frames(samples), 1, 0]


def test_a_padded_clip_differs_from_the_unpadded_one_only_near_its_end() -> None:
    samples = 6000
    audio = noise(1, samples)
    whole = features_of(audio)[0]
    longer = features_of(np.pad(audio, ((0, 0), (0, 4000))))[0, : len(whole)]
    edge = (samples - BYOLA.window // 2) // BYOLA.hop + 1  # first frame that reaches past the end
    np.testing.assert_allclose(longer[:edge], whole[:edge], atol=1e-4)
    assert np.abs(longer[edge:] - whole[edge:]).max() > 0.1


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    audio = noise(4, 4000)
    together = features_of(audio)
    for row in range(4):
        alone = features_of(audio[row : row + 1])[0]
        np.testing.assert_allclose(alone, together[row], atol=1e-4)


def test_no_collective_is_overlooked() -> None:
    """The search that the tests rely on finds the gather of a transform along a sharded axis."""
    gathered = jax.jit(jnp.fft.rfft, in_shardings=BY_ROW, out_shardings=BY_ROW)
    text = gathered.lower(jax.ShapeDtypeStruct((8, 64), jnp.float32)).compile().as_text()
    assert any("all-gather" in instruction for instruction in collectives(text))
