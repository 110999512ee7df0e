"""HTSAT and its head against the published implementation, step by step; log-mel: test_log_mel."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.models.htsat import Htsat, HtsatEncoder
from adiff_jax.models.tagger import Tagger, TaggerModel
from tests.adiff_weights import htsat_variables
from tests.golden.recipes import adiff_audio, adiff_fill
from tests.goldens import golden

GOLDEN = golden("adiff_htsat_golden")
CONFIG = Htsat()
SAMPLES = 320_000


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    return htsat_variables(adiff_fill)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    audio = np.stack([adiff_audio(101), adiff_audio(102)])
    for number, wave in enumerate(audio, start=1):  # the recipe makes what the goldens were made of
        np.testing.assert_allclose(wave[:64], GOLDEN[f"audio{number}_head"], atol=1e-6)
        np.testing.assert_allclose(wave[::4001], GOLDEN[f"audio{number}_every_4001"], atol=1e-6)
    return audio


@pytest.fixture(scope="module")
def heard(variables: dict[str, Any], clips: np.ndarray) -> dict[str, Any]:
    """Outputs of every submodule for both clips, those of the tagger itself under "heard"."""
    listen = partial(
        TaggerModel(Tagger(encoder=CONFIG, classes=527)).apply,
        method="listen",
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    given = jnp.asarray(clips), jnp.full((2,), SAMPLES), jnp.ones(2, bool)
    result, found = jax.device_get(jax.jit(listen)(variables, *given))
    return {**found["intermediates"], "heard": result}


def output(modules: dict[str, Any], *path: str) -> np.ndarray:
    """What the submodule at `path` returned, grids as rows of tokens."""
    for name in path:
        modules = modules[name]
    (found,) = modules["__call__"]
    return found.reshape(found.shape[0], -1, found.shape[-1])


def test_the_batch_norm_comes_first(heard: dict[str, Any]) -> None:
    found = output(heard, "encoder", "norm_0")[0]
    np.testing.assert_allclose(found[GOLDEN["frame_idx"]], GOLDEN["bn0_sub"], atol=1e-3)


def test_the_picture(heard: dict[str, Any], variables: dict[str, Any]) -> None:
    encoder = {name: tree["encoder"] for name, tree in variables.items()}
    picture = partial(HtsatEncoder(CONFIG).apply, encoder, method="picture")
    (found,) = np.asarray(jax.jit(picture)(output(heard, "encoder", "norm_0")[:1]))
    np.testing.assert_allclose(found[::4, ::4], GOLDEN["img_sub"], atol=1e-3)
    np.testing.assert_allclose(found[[0, 63, 64, 255]], GOLDEN["img_rows"], atol=1e-3)


@pytest.mark.parametrize(
    ("path", "name", "every"),
    [
        ("patch", "patch_sub", 128),
        ("stages_0/layers_0", "stage0_block0_sub", 128),
        ("stages_0/layers_1", "stage0_block1_sub", 128),
        ("stages_0", "stage0_sub", 32),
        ("stages_1", "stage1_sub", 8),
        ("stages_2", "stage2_sub", 4),
        ("stages_3", "stage3_sub", 4),
        ("norm", "final_norm_sub", 4),
    ],
)
def test_tokens(heard: dict[str, Any], path: str, name: str, every: int) -> None:
    found = output(heard, "encoder", *path.split("/"))[0]
    np.testing.assert_allclose(found[::every], GOLDEN[name], atol=1e-3)


@pytest.mark.parametrize("clip", [0, 1])
def test_the_embedding(heard: dict[str, Any], clip: int) -> None:
    expected = GOLDEN[f"embedding{clip + 1}"]
    np.testing.assert_allclose(heard["heard"].embedding[clip], expected, atol=1e-4)


@pytest.mark.parametrize("clip", [0, 1])
def test_the_tags(heard: dict[str, Any], clip: int) -> None:
    clipwise = jax.nn.sigmoid(heard["heard"].logits[clip])
    np.testing.assert_allclose(clipwise, GOLDEN[f"clipwise{clip + 1}"], atol=1e-4)
    framewise = jax.nn.sigmoid(output(heard, "head")[clip])
    np.testing.assert_allclose(framewise, GOLDEN[f"framewise{clip + 1}_sub"], atol=1e-4)
