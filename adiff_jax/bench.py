"""`adiff bench`: how fast the parts are on this machine, with PyTorch's same layers beside them.

Sizes are those of the small ADC preset on ten-second clips; `adiff_jax.timing` says how a median
is taken. Convolutions and the decoder layer run forward, and forward with backward. Both engines
use all the cores that the process may use.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from adiff_jax import bench_adiff, bench_cl4ac
from adiff_jax.arrays import Batch
from adiff_jax.audio.frontends import BYOLA, HTSAT, LogMel, log_mel
from adiff_jax.data.order import RowOrder
from adiff_jax.data.pipeline import LoaderConfig, train_batches
from adiff_jax.data.sources import SynthPairs, open_source
from adiff_jax.data.transforms import Encode, EncodeConfig
from adiff_jax.decode.beam import Beam
from adiff_jax.decode.generate import Strategy, generate
from adiff_jax.decode.sampling import Greedy
from adiff_jax.models.adc import Adc, AdcModel
from adiff_jax.models.build import build_encoder
from adiff_jax.models.byola import ByolA, StridedByolA
from adiff_jax.models.sdd import Disentanglement
from adiff_jax.nn.transformer import DecoderLayer
from adiff_jax.objectives import Captioning
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Rules
from adiff_jax.timing import HEAD, Row, cores, machine, measure
from adiff_jax.torch_layers import torch_decoder, torch_encoder, torch_module
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import abstract_state, fresh_state
from adiff_jax.train.step import make_train_step

CLIP_SECONDS = 10
CLIPS = 8
PAIRS = 8
SENTENCES = 32
TOKENS = 24
MODEL = Adc()
ENCODERS: dict[str, ByolA | StridedByolA] = {
    "BYOL-A d512": ByolA(width=512),
    "small": StridedByolA(),
}
SOURCE = SynthPairs()
LOADERS = {"2 threads": LoaderConfig(), "a worker process": LoaderConfig(workers=1)}


def run(
    which: tuple[str, ...] | None = None,
    out: str | Path | None = None,
    say: Callable[[str], Any] = print,
) -> None:
    """Time the subjects `which` (default all) and `say` the table line by line, as it comes.

    The whole table is written to `out` too, when it is complete. Raises ValueError for a subject
    that does not exist, and OSError, before anything is timed, when `out` cannot be written.
    """
    unknown = [name for name in which or () if name not in SUBJECTS]
    if unknown:
        raise ValueError(f"no subject {unknown[0]!r} to time; there are {', '.join(SUBJECTS)}")
    torch = torch_module(cores())
    beside = "torch not installed"
    if torch:
        beside = f"torch {torch.__version__} on {torch.get_num_threads()} threads"
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).open("a").close()
    lines: list[str] = []

    def add(line: str) -> None:
        lines.append(line)
        say(line)

    add(f"Machine: {machine()}, {beside}.\n\n{HEAD}")
    for name in which or SUBJECTS:
        print(f"timing {name}...", file=sys.stderr, flush=True)
        for row in SUBJECTS[name]():
            add(str(row))
    if out is not None:
        Path(out).write_text("\n".join(lines) + "\n")


def _frames() -> int:
    """Frames of a clip after the encoder of the small preset."""
    encoder = MODEL.encoder
    return encoder.frontend.frames(CLIP_SECONDS * encoder.frontend.rate) // encoder.stride


def _waves(rows: int, rate: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, rate * CLIP_SECONDS)).astype(np.float32)


def _log_mel() -> Iterator[Row]:
    frontends = {"BYOL-A, 16 kHz": BYOLA, "small, 16 kHz": LogMel(hop=320), "HTSAT, 32 kHz": HTSAT}
    for name, config in frontends.items():
        call = partial(jax.jit(partial(log_mel, config)), jnp.asarray(_waves(CLIPS, config.rate)))
        what = f"{name}, {CLIPS} clips of {CLIP_SECONDS} s"
        yield Row("log-mel", what, "jax", measure(call), CLIPS, "clips")


def _encoder() -> Iterator[Row]:
    """From log-mel to frames; the same convolutions in torch."""
    for name, config in ENCODERS.items():
        frames = config.frontend.frames(CLIP_SECONDS * config.frontend.rate)
        shape = (CLIPS, frames, config.frontend.mels, 1)
        given = jnp.ones(shape), jnp.full((CLIPS,), frames, jnp.int32)
        module = build_encoder(config, jnp.dtype("float32"))
        variables = jax.jit(module.init)(jax.random.key(0), *given)
        what = f"{name} encoder, {CLIPS} clips of {CLIP_SECONDS} s"
        yield from _jax_rows("encoder", what, module, variables, given, CLIPS, "clips")
        if torch := torch_module(cores()):
            layers, encode = torch_encoder(torch, config)
            call = partial(encode, torch.ones(CLIPS, 1, frames, config.frontend.mels))
            yield from _torch_rows(torch, "encoder", what, layers, call, CLIPS, "clips")


def _jax_rows(
    subject: str, what: str, module: Any, variables: Any, given: Any, items: int, unit: str
) -> Iterator[Row]:
    def total(variables: Any, *given: Any) -> jax.Array:
        return sum(leaf.sum() for leaf in jax.tree.leaves(module.apply(variables, *given)))

    # The input of a real model comes from audio: nothing is differentiated with respect to it.
    forward, both = jax.jit(module.apply), jax.jit(jax.grad(total))
    for call, how in ((forward, "forward"), (both, "forward and backward")):
        timing = measure(partial(call, variables, *given))
        yield Row(subject, f"{what}, {how}", "jax", timing, items, unit)


def _torch_rows(
    torch: Any, subject: str, what: str, module: Any, call: Callable[[], Any], items: int, unit: str
) -> Iterator[Row]:
    def forward() -> None:
        with torch.no_grad():
            call()

    def both() -> None:
        module.zero_grad()
        call().sum().backward()

    yield Row(subject, f"{what}, forward", "torch", measure(forward), items, unit)
    yield Row(subject, f"{what}, forward and backward", "torch", measure(both), items, unit)


class _RememberingLayer(nn.Module):
    """A decoder layer that projects the memory too, as torch's does."""

    layer: DecoderLayer

    def __call__(self, x: jax.Array, memory: jax.Array, mask: jax.Array) -> jax.Array:
        return self.layer(x, self.layer.remember(memory), mask)


def _decoder_layer() -> Iterator[Row]:
    """One decoder layer under teacher forcing over the frames of two clips."""
    config, source = MODEL.decoder, 2 * _frames()
    width, heads, hidden = config.width, config.heads, config.hidden
    x, memory = (SENTENCES, TOKENS, width), (SENTENCES, source, width)
    layer = _RememberingLayer(DecoderLayer(width, heads, hidden, 0.0))
    given = jnp.ones(x), jnp.ones(memory), jnp.ones(memory[:2], bool)
    variables = jax.jit(layer.init)(jax.random.key(0), *given)
    items = SENTENCES * TOKENS
    what = f"width {width}, {SENTENCES} × {TOKENS} tokens over {source} frames"
    yield from _jax_rows("decoder layer", what, layer, variables, given, items, "tokens")
    if torch := torch_module(cores()):
        twin = torch_decoder(torch, config)
        causal = torch.nn.Transformer.generate_square_subsequent_mask(TOKENS)
        call = partial(twin, torch.ones(x), torch.ones(memory), causal)
        yield from _torch_rows(torch, "decoder layer", what, twin, call, items, "tokens")


def _pairs(rows: int, encode: EncodeConfig) -> Batch:
    """Noise with captions, as a training batch."""
    waves = jnp.asarray(_waves(rows, encode.rate))
    length = jnp.full((rows,), encode.samples, jnp.int32)
    shape = (rows, encode.max_tokens)
    return Batch(
        valid=jnp.ones(rows, bool),
        example_id=jnp.arange(rows, dtype=jnp.int32),
        audio_1=waves,
        audio_2=waves[::-1],
        length_1=length,
        length_2=length,
        tokens=jnp.full(shape, 5, jnp.int32),
        tokens_mask=jnp.ones(shape, bool),
        scene_id=jnp.arange(rows, dtype=jnp.int32),
        changed=jnp.ones(rows, bool),
    )


def _train_step() -> Iterator[Row]:
    model = replace(MODEL, sdd=Disentanglement(stage="late"))
    batch = _pairs(PAIRS, EncodeConfig(float(CLIP_SECONDS), max_tokens=16))
    arguments = Captioning(model), Optimizer(), 1000
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    state = fresh_state(*arguments, batch, 0, abstract_state(*arguments, batch, mesh, Rules()))
    step = jax.jit(make_train_step(*arguments), donate_argnums=0)
    seed, count = jnp.uint32(0), itertools.count()

    def update() -> Any:
        nonlocal state
        state, metrics = step(state, batch, seed, np.int32(next(count)))
        return metrics

    what = f"small ADC (CAC, late SDD), {PAIRS} pairs of {CLIP_SECONDS} s, audio to update"
    yield Row("train step", what, "jax", measure(update), PAIRS, "pairs")


def _decoding() -> Iterator[Row]:
    """Sentences of a fixed length from encoded clips, with the cache and without."""
    model, batch = AdcModel(MODEL), _encoded()
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    items = SENTENCES * TOKENS
    strategies: dict[str, Strategy] = {"greedy": Greedy(), "beam of 4": Beam(4)}
    for name, strategy in strategies.items():
        call = partial(generate, model, variables, batch, strategy, max_tokens=TOKENS, stop_ids=())
        what = f"{name}, {SENTENCES} × {TOKENS} tokens, with cache"
        yield Row("decoding", what, "jax", measure(call), items, "tokens")
    call = partial(jax.jit(partial(_without_cache, model)), variables, batch)
    what = f"greedy, {SENTENCES} × {TOKENS} tokens, without cache"
    yield Row("decoding", what, "jax", measure(call), items, "tokens")


def _encoded() -> Batch:
    """Encoded clips that differ between the rows."""
    assert isinstance(MODEL.encoder, StridedByolA)  # its frames are `width` wide
    shape = (SENTENCES, _frames(), MODEL.encoder.width)
    rng = np.random.default_rng(1)
    return replace(
        _pairs(SENTENCES, EncodeConfig(float(CLIP_SECONDS), max_tokens=TOKENS)),
        audio_1=None,
        audio_2=None,
        features_1=jnp.asarray(rng.normal(size=shape), jnp.float32),
        features_2=jnp.asarray(rng.normal(size=shape), jnp.float32),
        length_1=jnp.full(SENTENCES, shape[1]),
        length_2=jnp.full(SENTENCES, shape[1]),
    )


def _without_cache(model: AdcModel, variables: Any, batch: Batch) -> jax.Array:
    """Greedy decoding that reads the whole sentence again for every token."""

    def sentence(model: AdcModel, memory: Any, tokens: jax.Array) -> jax.Array:
        return model.decoder(memory.memory, memory.memory_mask, tokens)

    memory = model.apply(variables, batch, method="encode")

    def step(place: jax.Array, tokens: jax.Array) -> jax.Array:
        logits: Any = model.apply(variables, memory, tokens, method=sentence)
        return tokens.at[:, place].set(logits[:, place].argmax(axis=-1).astype(jnp.int32))

    return jax.lax.fori_loop(0, TOKENS, step, jnp.zeros_like(batch.tokens))


def _take(batches: Iterator[Any], many: int) -> None:
    for _ in range(many):
        next(batches)


def _loader() -> Iterator[Row]:
    """Pairs synthesised, encoded and batched, by threads of this process and by a worker."""
    source = open_source(SOURCE)
    encode, order = Encode(EncodeConfig(float(CLIP_SECONDS))), RowOrder(len(source))
    for name, config in LOADERS.items():
        batches = train_batches(source, encode, order, PAIRS, config=config)
        # Batches come in bursts, one a thread, so that a call takes several bursts.
        many = 4 * config.threads * max(1, config.workers)
        timing = measure(partial(_take, batches, many))
        what = f"procedural pairs of {CLIP_SECONDS} s, {name}"
        yield Row("loader", what, "numpy", timing, many * 2 * PAIRS, "clips")
        del batches  # stops its threads and workers


SUBJECTS: dict[str, Callable[[], Iterator[Row]]] = {
    "log-mel": _log_mel,
    "encoder": _encoder,
    "decoder": _decoder_layer,
    "train": _train_step,
    "decoding": _decoding,
    "loader": _loader,
    "adiff": bench_adiff.rows,
    "cl4ac": bench_cl4ac.rows,
}
