"""State dictionaries with the names and shapes of the published manifests, filled by name."""

import json
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.audio.frontends import CL4AC, CNN10, LogMel
from adiff_jax.convert.constants import dft_kernels, filters_of
from adiff_jax.convert.engine import Variables
from adiff_jax.models.cl4ac import Cl4ac, Cl4acModel
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.nn.swin import relative_positions, shift_mask
from tests.golden.recipes import fill

FOLDER = Path(__file__).parents[1] / "golden"
HTSAT_PREFIX = "audio_encoder.base.htsat."
Shapes = dict[str, tuple[int, ...]]
State = dict[str, np.ndarray]


def manifest(name: str) -> Any:
    """tests/golden/<name>_manifest.json."""
    return json.loads((FOLDER / f"{name}_manifest.json").read_text())


def cnn10_shapes() -> Shapes:
    """Names and shapes of the published Cnn10."""
    return {name: tuple(shape) for name, shape in manifest("panns_cnn10").items()}


def byola_shapes(kind: str) -> Shapes:
    """Those of one of the three BYOL-A encoders of the manifest."""
    return {name: tuple(shape) for name, shape in manifest("byola")[kind].items()}


def adiff_dtypes() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype, shape) of every entry of an official ADIFF checkpoint, in its order."""
    return {name: (entry[0], tuple(entry[1:])) for name, entry in manifest("adiff").items()}


def constants(frontend: LogMel = CNN10) -> State:
    """A frontend's entries as torchlibrosa stores them."""
    parts = dft_kernels(frontend.window)
    return {
        "spectrogram_extractor.stft.conv_real.weight": parts["real"].astype(np.float32),
        "spectrogram_extractor.stft.conv_imag.weight": parts["imag"].astype(np.float32),
        "logmel_extractor.melW": filters_of(frontend).astype(np.float32),
    }


def filled(shapes: Shapes) -> State:
    """The recipe's values, float32; the frontend's constants; counters are 7."""
    norms = {name.rpartition(".")[0] for name in shapes if name.endswith("running_mean")}
    known = constants()

    def value(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name in known:
            return known[name]
        if name.endswith("num_batches_tracked"):
            return np.array(7, np.int64)
        return fill(name, shape, norm=name.rpartition(".")[0] in norms).astype(np.float32)

    return {name: value(name, shape) for name, shape in shapes.items()}


CL4AC_GOLDEN = Cl4ac(
    decoder=TextDecoder(layers=2, width=128, heads=4, hidden=2048, start_id=0, end_id=1),
    vocab_size=200,
)
"""The sizes of the goldens."""


def cl4ac_leaves(config: Cl4ac = CL4AC_GOLDEN) -> Variables:
    """The shapes that a conversion has to fill."""

    def of(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    batch = Batch(
        valid=jax.ShapeDtypeStruct((1,), jnp.bool_),
        example_id=of(1),
        audio_1=jax.ShapeDtypeStruct((1, config.encoder.frontend.rate), jnp.float32),
        length_1=of(1),
        tokens=of(1, 2),
        tokens_mask=jax.ShapeDtypeStruct((1, 2), jnp.bool_),
    )
    model = Cl4acModel(config)
    return jax.eval_shape(lambda rows: model.init(jax.random.key(0), rows), batch)


def cl4ac_state() -> State:
    """The recipe's values, float32; the frontend's constants, positions; counters are 7."""
    shapes = {name: tuple(shape) for name, shape in manifest("cl4ac")["manifest"].items()}
    prefix = "feature_extractor."
    known = {prefix + name: value for name, value in constants(CL4AC).items()}

    def value(name: str, shape: tuple[int, ...]) -> np.ndarray:
        module = name.rpartition(".")[0]
        if name in known:
            return known[name]
        if name == "pos_encoder.pe":
            return float32_positions(shape[0], shape[2])[:, None]
        if name.endswith("num_batches_tracked"):
            return np.array(7, np.int64)
        norm = f"{module}.running_mean" in shapes or module.rpartition(".")[2].startswith("norm")
        return fill(name, shape, norm=norm).astype(np.float32)

    return {name: value(name, shape) for name, shape in shapes.items()}


def float32_positions(count: int, width: int) -> np.ndarray:
    """Sinusoidal positions, every step of the computation in float32."""
    step = np.float32(-np.log(10000.0) / width)
    rate = np.exp(np.arange(0, width, 2, dtype=np.float32) * step)
    angle = np.arange(count, dtype=np.float32)[:, None] * rate
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(count, width)


def quick_fill(name: str, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Other values for every name and every place in it, made faster than noise."""
    start = zlib.crc32(name.encode()) % 65521
    steps = np.arange(start, start + int(np.prod(shape)), dtype=np.uint32) * np.uint32(2654435761)
    if dtype == "float32":  # finite: the exponent is kept from its highest value
        return (steps & np.uint32(0xBF7FFFFF)).view(np.float32).reshape(shape)
    return steps.astype(dtype).reshape(shape)


def adiff_state(shapes: dict[str, tuple[str, tuple[int, ...]]]) -> State:
    """An ADIFF checkpoint: weights by `quick_fill`, constants and buffers as the original's."""
    known = {HTSAT_PREFIX + name: value for name, value in constants().items()}
    state: State = {}
    for name, (dtype, shape) in shapes.items():
        if name in known:
            state[name] = known[name]
        elif name.endswith("lm_head.weight"):  # tied
            state[name] = state[name.replace("lm_head", "transformer.wte")]
        elif name.endswith("relative_position_index"):
            state[name] = relative_positions(8).astype(dtype)
        elif name.endswith("attn_mask"):
            side = 8 * int(np.sqrt(shape[0]))
            state[name] = shift_mask(side, side, 8)
        elif name.endswith(".attn.bias") and len(shape) == 4:
            state[name] = np.tri(shape[-1], dtype=bool)[None, None]
        elif name.endswith("masked_bias"):
            state[name] = np.array(-1e4, np.float32)
        else:
            state[name] = quick_fill(name, shape, dtype)
    return state


def htsat_state() -> State:
    """The HTSAT part of an ADIFF checkpoint, names as in a checkpoint of its own."""
    return {
        name.removeprefix(HTSAT_PREFIX): value
        for name, value in adiff_state(
            {name: entry for name, entry in adiff_dtypes().items() if HTSAT_PREFIX in name}
        ).items()
    }


def assert_same(one: State, other: State) -> None:
    """The same names in the same order, dtypes, shapes and bits."""
    assert list(one) == list(other)
    for name, value in one.items():
        assert value.dtype == other[name].dtype and value.shape == other[name].shape, name
        assert value.tobytes() == other[name].tobytes(), name


SMALL_LM = {768: 64, 2304: 192, 3072: 256, 1536: 128, 30720: 40 * 64, 1024: 130}
"""Sizes of a small language model, its mappers and cross-projection, for the published ones."""


def small_adiff_dtypes(form: int, tokens: int = 101) -> dict[str, tuple[str, tuple[int, ...]]]:
    """A checkpoint of 576 or 552 entries, its language model and what feeds it made narrow."""
    small = SMALL_LM | {50257: tokens}

    def narrow(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not name.startswith("caption_decoder"):
            return shape
        sizes = [small.get(size, size) for size in shape]
        if ".linear.weight" in name:  # it reads the projection, which stays as wide as it is
            sizes[1] = 1024
        return tuple(sizes)

    return {
        name: (dtype, narrow(name, shape))
        for name, (dtype, shape) in adiff_dtypes().items()
        if form == 576 or not name.endswith((".attn.masked_bias", ".attn.bias"))
    }
