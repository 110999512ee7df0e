"""`adiff bench cl4ac`: what captions of long clips cost, the same layers in PyTorch beside ours.

The published size, random weights, float32. Ours goes from audio to words; torch starts from the
log-mel, encodes once, and reads its sentence again for every word, as the published code does.
Both say as many words as there is room for. A train step is one of the published loss, from the
log-mel in torch and from audio in ours.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.decode.generate import generate, one_by_one
from adiff_jax.decode.sampling import Greedy
from adiff_jax.models.cl4ac import Cl4ac, Cl4acModel
from adiff_jax.objectives import Captioning
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Rules
from adiff_jax.protocol import Variables
from adiff_jax.timing import Row, cores, take_turns, timing_of
from adiff_jax.torch_layers import torch_cl4ac, torch_module
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import abstract_state, fresh_state
from adiff_jax.train.step import make_train_step

MODEL = replace(Cl4ac(), vocab_size=4375)
CLIPS = 16
TRAINED = 4  # clips of a train step
SECONDS = 30
WORDS = 35

Call = Callable[[], Any]


def rows() -> Iterator[Row]:
    """Clips to the decoder's memory, clips to words, and a train step."""
    yield from _captioning()
    yield from _train_step()


def _captioning() -> Iterator[Row]:
    batch, module = _batch(CLIPS), Cl4acModel(MODEL)
    variables = jax.jit(Captioning(MODEL).init)(jax.random.key(0), _batch(1))
    singly = jax.default_backend() == "cpu"  # as `Parts.hears_singly` has it for CL4AC

    @jax.jit
    def encode(variables: Variables, batch: Batch) -> Any:
        heard = partial(module.apply, variables, method="encode")
        return one_by_one(heard, batch) if singly else heard(batch)

    settings: dict[str, Any] = {"max_tokens": WORDS, "stop_ids": (), "hear_singly": singly}
    say = partial(generate, module, variables, batch, Greedy(), **settings)
    hear = partial(encode, variables, batch)
    ours: dict[str, Call] = {"audio to the memory": hear, f"audio to {WORDS} words": say}
    theirs: dict[str, Call] = {}
    if (torch := torch_module(cores())) is not None:
        twin = torch_cl4ac(torch, MODEL).eval()
        mels = torch.randn(CLIPS, 1, _frames(), MODEL.encoder.frontend.mels)
        theirs = {
            "log-mel to the memory": torch.no_grad()(partial(twin.remember, mels)),
            f"log-mel to {WORDS} words": torch.no_grad()(partial(twin.say, mels, WORDS)),
        }
    calls = [("jax", *item) for item in ours.items()]
    calls += [("torch", *item) for item in theirs.items()]
    seconds = take_turns([call for _, _, call in calls], warm_up=1)
    for (engine, what, _), found in zip(calls, seconds, strict=True):
        size = f"CL4AC, {CLIPS} clips of {SECONDS} s, {what}"
        yield Row("captioning", size, engine, timing_of(found), CLIPS, "clips")


def _train_step() -> Iterator[Row]:
    calls = {"jax": _our_step()}
    if (torch := torch_module(cores())) is not None:
        calls["torch"] = _torch_step(torch)
    seconds = take_turns([*calls.values()], warm_up=1)
    for engine, found in zip(calls, seconds, strict=True):
        what = f"CL4AC, {TRAINED} clips of {SECONDS} s"
        yield Row("train step", what, engine, timing_of(found), TRAINED, "clips")


def _our_step() -> Call:
    batch, arguments = _batch(TRAINED), (Captioning(MODEL), Optimizer(l2=1e-6), 1000)
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    state = fresh_state(*arguments, batch, 0, abstract_state(*arguments, batch, mesh, Rules()))
    step, count = jax.jit(make_train_step(*arguments), donate_argnums=0), itertools.count()

    def update() -> Any:
        nonlocal state
        state, metrics = step(state, batch, jnp.uint32(0), np.int32(next(count)))
        return metrics

    return update


def _torch_step(torch: Any) -> Call:
    twin = torch_cl4ac(torch, MODEL).train()
    optimizer = torch.optim.Adam(twin.parameters(), weight_decay=1e-6)
    mels = torch.randn(TRAINED, 1, _frames(), MODEL.encoder.frontend.mels)
    own, other = torch.randint(3, MODEL.vocab_size, (2, TRAINED, WORDS))
    answers = torch.tensor([1] * TRAINED + [0] * TRAINED)
    entropy = torch.nn.functional.cross_entropy

    def update() -> None:
        optimizer.zero_grad()
        memory = twin.remember(mels)  # once, as in ours
        hidden, false = twin.read(memory, own), twin.read(memory, other)
        scores = twin.matching(torch.cat([hidden[:, -1], false[:, -1]]))
        caption = entropy(twin.output(hidden).flatten(0, 1), own.flatten())
        (caption + entropy(scores, answers)).backward()
        optimizer.step()

    return update


def _frames() -> int:
    frontend = MODEL.encoder.frontend
    return frontend.frames(SECONDS * frontend.rate)


def _batch(clips: int) -> Batch:
    """Noise with sentences and negatives."""
    rng, samples = np.random.default_rng(0), SECONDS * MODEL.encoder.frontend.rate
    own, other = jnp.asarray(rng.integers(3, MODEL.vocab_size, (2, clips, WORDS)), jnp.int32)
    number, mask = jnp.arange(clips, dtype=jnp.int32), jnp.ones((clips, WORDS), bool)
    return Batch(
        valid=jnp.ones(clips, bool),
        example_id=number,
        audio_1=jnp.asarray(rng.normal(size=(clips, samples)), jnp.float32),
        length_1=jnp.full((clips,), samples, jnp.int32),
        tokens=own,
        tokens_mask=mask,
        scene_id=number,
        changed=jnp.ones(clips, bool),
        negative=other,
        negative_mask=mask,
        negative_true=jnp.zeros(clips, bool),
    )
