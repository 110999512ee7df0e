"""The tables against the published names: every entry is placed, there and back, bit by bit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.convert import byola, cnn10, htsat
from adiff_jax.convert.constants import dft_kernels
from adiff_jax.convert.engine import ConversionError, StateDict, to_ours, to_torch
from adiff_jax.convert.shapes import tagger_shapes
from adiff_jax.convert.table import Table
from adiff_jax.models.byola import ByolA, ByolA2
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.tagger import Tagger
from tests.adiff_weights import htsat_variables
from tests.convert.states import (
    HTSAT_PREFIX,
    State,
    assert_same,
    byola_shapes,
    cnn10_shapes,
    filled,
    htsat_state,
)
from tests.parity.test_byola import variables as parity_variables

BYOLA = {
    "AudioNTT2020Task6_d512": ByolA(width=512),
    "AudioNTT2020Task6_d2048": ByolA(width=2048),
    "AudioNTT2022Encoder_d3072": ByolA2(),
}


def there_and_back(table: Table, state: State, shapes: Any) -> dict[str, Any]:
    """Our variables, once they have come back as the same entries."""
    converted = to_ours(table, StateDict(state), shapes)
    assert jax.tree.map(np.shape, converted.variables) == jax.tree.map(
        jnp.shape, {"params": {}, "batch_stats": {}} | dict(shapes)
    )
    assert_same(dict(to_torch(table, converted.variables, converted.sidecar).entries), state)
    return converted.variables


def assert_trees_equal(ours: Any, expected: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, ours, expected)


@pytest.mark.parametrize("kind", BYOLA)
def test_byola(kind: str) -> None:
    state, config = filled(byola_shapes(kind)), BYOLA[kind]
    assert byola.config_of(state) == config
    variables = there_and_back(byola.TABLE, state, tagger_shapes(Tagger(config), head=False))
    blocks, flat = (3, 512) if isinstance(config, ByolA) else (2, 1024)
    width = config.width if isinstance(config, ByolA) else config.hidden
    expected = parity_variables(blocks, flat, width)  # which the parity tests run
    assert_trees_equal({name: tree["encoder"] for name, tree in variables.items()}, expected)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_cnn10(prefix: str) -> None:
    state = {prefix + name: value for name, value in filled(cnn10_shapes()).items()}
    there_and_back(cnn10.TABLE, state, tagger_shapes(Tagger(Cnn10(), 527)))


@pytest.mark.parametrize("prefix", ["", "sed_model.", "module.sed_model."])
def test_htsat(prefix: str) -> None:
    state = htsat_state()
    named = {prefix + name: value for name, value in state.items()}
    variables = there_and_back(htsat.TABLE, named, tagger_shapes(Tagger(Htsat(), 527)))

    def published(name: str, shape: tuple[int, ...]) -> np.ndarray:
        value = state[name.removeprefix(HTSAT_PREFIX)]
        assert value.shape == shape
        return value

    expected = htsat_variables(published)  # which the parity tests run
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def complaint(table: Table, state: State, shapes: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        to_ours(table, StateDict(state), shapes)
    return str(caught.value)


def test_kernels_of_the_constants_are_a_windowed_fourier_transform() -> None:
    frame, window = np.random.default_rng(0).standard_normal(1024), np.hanning(1025)[:-1]
    spectrum = np.fft.rfft(frame * window)
    kernels = dft_kernels(1024)
    np.testing.assert_allclose(kernels["real"][:, 0] @ frame, spectrum.real, atol=1e-10)
    np.testing.assert_allclose(kernels["imag"][:, 0] @ frame, spectrum.imag, atol=1e-10)


def test_constants_that_are_others_are_named_with_their_difference() -> None:
    state, shapes = filled(cnn10_shapes()), tagger_shapes(Tagger(Cnn10(), 527))
    mel = state["logmel_extractor.melW"].copy()
    mel[100] *= 1.01
    kernel = state["spectrogram_extractor.stft.conv_real.weight"].copy()
    kernel[3, 0, 500] = np.nan
    imaginary = -state["spectrogram_extractor.stft.conv_imag.weight"]
    state |= {
        "logmel_extractor.melW": mel,
        "spectrogram_extractor.stft.conv_real.weight": kernel,
        "spectrogram_extractor.stft.conv_imag.weight": imaginary,
    }
    found = complaint(cnn10.TABLE, state, shapes)
    assert "'logmel_extractor.melW' differs from ours by up to" in found and "(at (100, " in found
    assert "conv_real.weight' differs from ours by up to inf (at (3, 0, 500): nan" in found
    assert "conv_imag.weight' differs" in found


def test_rounding_of_a_constant_is_no_difference() -> None:
    state, shapes = filled(cnn10_shapes()), tagger_shapes(Tagger(Cnn10(), 527))
    mel = state["logmel_extractor.melW"]
    state["logmel_extractor.melW"] = np.nextafter(mel, np.float32(1))
    to_ours(cnn10.TABLE, StateDict(state), shapes)


def test_positions_and_shift_masks_that_are_others_are_named() -> None:
    state = htsat_state()
    block = "layers.0.blocks.1."
    state[f"{block}attn.relative_position_index"] = state[f"{block}attn.relative_position_index"].T
    state[f"{block}attn_mask"] = np.zeros_like(state[f"{block}attn_mask"])
    found = complaint(htsat.TABLE, state, tagger_shapes(Tagger(Htsat(), 527)))
    assert f"'{block}attn.relative_position_index' differs from ours in 4032 of 4096" in found
    assert f"'{block}attn_mask' differs from ours in" in found


@pytest.mark.parametrize("table", [byola, cnn10, htsat], ids=lambda module: module.TABLE.name)
def test_a_file_of_something_else_is_recognised_as_such(table: Any) -> None:
    find = table.config_of if table is byola else table.classes_of
    with pytest.raises(ConversionError, match=r"the file is no .* its entries are some\.weight"):
        find({"some.weight": np.zeros(3, np.float32)})
