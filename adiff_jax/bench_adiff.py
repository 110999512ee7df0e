"""`adiff bench adiff`: what an explanation costs, with PyTorch's GPT-2 beside ours.

A language model of the base size reads a prefix and says or learns a text, from random weights:
the time does not depend on them. Both engines take turns call by call. What follows the prefill is
the difference between a long and a short generation of the same round. A product of matrices says
how much of either engine's time could be saved at all. Beside that, ours alone: the whole of ADIFF
from audio to tokens, and its steps of training on audio and on cached embeddings.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from adiff_jax.arrays import Batch, NextLogits, Output, Term
from adiff_jax.decode.generate import generate
from adiff_jax.decode.sampling import Greedy
from adiff_jax.losses import token_cross_entropy
from adiff_jax.models.adiff import Adiff, AdiffModel
from adiff_jax.models.gpt2 import GPT2_BASE, Gpt2, Gpt2Cache, Gpt2Module
from adiff_jax.objectives import Captioning
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Rules
from adiff_jax.protocol import Objective, Variables
from adiff_jax.timing import Row, cores, take_turns, timing_of
from adiff_jax.torch_layers import torch_gpt2, torch_module
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import abstract_state, fresh_state
from adiff_jax.train.step import make_train_step

LANGUAGE_MODEL = GPT2_BASE
PREFIX = 121  # vectors: two clips, a separator and a prompt
TOKENS = 60
DECODED = (1, 8)  # explanations at once
TRAINED = 2  # examples of a train step
MODEL = Adiff(lm=LANGUAGE_MODEL)
SECONDS = 10  # of a clip
OPTIMIZER = Optimizer(learning_rate=1e-5)

Calls = dict[tuple[str, str], Callable[[], Any]]
"""By (what is measured, engine)."""


def rows() -> Iterator[Row]:
    """A product of matrices, prefill, tokens after it, and a train step; then all of ADIFF."""
    yield from _product()
    for many in DECODED:
        yield from _decoding(many)
    yield from _train_step()
    for many in DECODED:
        yield from _explaining(many)
    yield from _stages()


def _product() -> Iterator[Row]:
    """The first layer of the feed-forward of a prefill, without anything around it."""
    rows, width = max(DECODED) * PREFIX, LANGUAGE_MODEL.width
    random = np.random.default_rng(3).normal
    x, kernel = (random(size=size).astype("f") for size in ((rows, width), (width, 4 * width)))
    calls: Calls = {("product", "jax"): partial(jax.jit(jnp.matmul), *jax.device_put((x, kernel)))}
    if (torch := torch_module(cores())) is not None:
        calls["product", "torch"] = partial(torch.matmul, torch.tensor(x), torch.tensor(kernel))
    what = f"{rows} × {width} by {width} × {4 * width}, float32"
    for (_, engine), seconds in zip(calls, take_turns([*calls.values()], 1), strict=True):
        megaflop = 8 * rows * width * width // 10**6
        yield Row("matrix product", what, engine, timing_of(seconds), megaflop, "MFLOP")


def _decoding(many: int) -> Iterator[Row]:
    """A prefix read, up to its first token; then `TOKENS` more, one after the other."""
    calls = _our_generation(many) | _torch_generation(many)
    seconds = dict(zip(calls, take_turns(list(calls.values()), warm_up=1), strict=True))
    size = f"batch {many}, prefix of {PREFIX}"
    for (what, engine), long in seconds.items():
        if what != "long":
            continue
        short = seconds["short", engine]
        after = [a - b for a, b in zip(long, short, strict=True)]
        yield Row("prefill", f"GPT-2, {size}", engine, timing_of(short), many, "prefixes")
        said = f"GPT-2, {size}, {TOKENS} tokens after prefill"
        yield Row("decoding", said, engine, timing_of(after), many * TOKENS, "tokens")


def _our_generation(many: int) -> Calls:
    batch = _batch(many)
    model = _Prefixed(LANGUAGE_MODEL)
    variables = jax.jit(model.init)(jax.random.key(0), batch)

    def call(tokens: int) -> Callable[[], Any]:
        settings: dict[str, Any] = {"max_tokens": tokens, "stop_ids": ()}
        return partial(generate, model, variables, batch, Greedy(), **settings)

    return {("short", "jax"): call(1), ("long", "jax"): call(1 + TOKENS)}


def _torch_generation(many: int) -> Calls:
    torch, model = torch_module(cores()), torch_gpt2(LANGUAGE_MODEL)
    if torch is None or model is None:
        return {}
    prefix = torch.tensor(_prefix(many))
    seen = torch.ones(prefix.shape[:2])

    def call(tokens: int) -> None:
        model.generate(
            inputs_embeds=prefix,
            attention_mask=seen,
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )

    return {("short", "torch"): partial(call, 1), ("long", "torch"): partial(call, 1 + TOKENS)}


def _explaining(many: int) -> Iterator[Row]:
    """From audio to tokens; and as far as the prefix, which hears and does not say."""
    model, batch = AdiffModel(MODEL), _heard(many)
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    hear = jax.jit(partial(model.apply, method="encode"))
    calls = {
        "to the prefix": partial(hear, variables, batch),
        f"to {TOKENS} tokens": partial(
            generate, model, variables, batch, Greedy(), max_tokens=TOKENS, stop_ids=()
        ),
    }
    for what, seconds in zip(calls, take_turns([*calls.values()], 1), strict=True):
        said = f"ADIFF, batch {many}, pairs of {SECONDS} s, audio {what}"
        yield Row("explaining", said, "jax", timing_of(seconds), many, "pairs")


def _stages() -> Iterator[Row]:
    """A step of either stage of ADIFF, its frozen encoder at work or its embeddings cached."""
    for stage, freeze_lm in (("2", True), ("3", False)):
        objective = Captioning(replace(MODEL, freeze_lm=freeze_lm))
        calls = {
            "on audio": _our_step(objective, _heard(TRAINED)),
            "on cached embeddings": _our_step(objective, _remembered(TRAINED)),
        }
        for given, seconds in zip(calls, take_turns([*calls.values()], 1), strict=True):
            what = f"ADIFF, stage {stage}, batch {TRAINED}, {given}"
            yield Row("train step", what, "jax", timing_of(seconds), TRAINED, "examples")


def _train_step() -> Iterator[Row]:
    """Forward, backward, clipping and AdamW on all weights, with dropout."""
    answering = _Answering(LANGUAGE_MODEL)
    calls: Calls = {("step", "jax"): _our_step(answering, _batch(TRAINED))}
    if (theirs := _torch_step()) is not None:
        calls["step", "torch"] = theirs
    what = f"GPT-2, all weights, batch {TRAINED}, {PREFIX} + {TOKENS} tokens"
    for (_, engine), seconds in zip(calls, take_turns(list(calls.values())), strict=True):
        yield Row("train step", what, engine, timing_of(seconds), TRAINED, "examples")


def _our_step(objective: Objective, batch: Batch) -> Callable[[], Any]:
    arguments = objective, OPTIMIZER, 1000
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    state = fresh_state(*arguments, batch, 0, abstract_state(*arguments, batch, mesh, Rules()))
    step = jax.jit(make_train_step(*arguments), donate_argnums=0)
    seed, count = jnp.uint32(0), itertools.count()

    def update() -> Any:
        nonlocal state
        state, metrics = step(state, batch, seed, np.int32(next(count)))
        return metrics

    return update


def _torch_step() -> Callable[[], Any] | None:
    torch, model = torch_module(cores()), torch_gpt2(LANGUAGE_MODEL)
    if torch is None or model is None:
        return None
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), OPTIMIZER.learning_rate, weight_decay=OPTIMIZER.weight_decay, fused=True
    )
    prefix, tokens = torch.tensor(_prefix(TRAINED)), torch.tensor(_tokens(TRAINED)).long()

    def update() -> float:
        inputs = torch.cat([prefix, model.transformer.wte(tokens[:, :-1])], dim=1)
        logits = model(inputs_embeds=inputs, use_cache=False, logits_to_keep=TOKENS).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER.clip_norm)
        optimizer.step()
        return loss.item()

    return update


def _prefix(many: int) -> np.ndarray:
    shape = (many, PREFIX, LANGUAGE_MODEL.width)
    return 0.02 * np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _tokens(many: int) -> np.ndarray:
    shape = (many, TOKENS)
    return np.random.default_rng(1).integers(0, LANGUAGE_MODEL.vocab_size, shape, np.int32)


def _batch(many: int) -> Batch:
    return Batch(
        valid=jnp.ones(many, bool),
        example_id=jnp.arange(many, dtype=jnp.int32),
        features_1=jnp.asarray(_prefix(many)),
        tokens=jnp.asarray(_tokens(many)),
        tokens_mask=jnp.ones((many, TOKENS), bool),
    )


def _asked(many: int) -> Batch:
    """A prompt and an answer, nothing heard."""
    prompt = (many, MODEL.mappers.tokens)
    return replace(
        _batch(many),
        features_1=None,
        prompt=jnp.ones(prompt, jnp.int32),
        prompt_mask=jnp.ones(prompt, bool),
    )


def _heard(many: int) -> Batch:
    samples = SECONDS * MODEL.encoder.frontend.rate
    waves = jnp.asarray(np.random.default_rng(2).normal(size=(2, many, samples)), jnp.float32)
    length = jnp.full(many, samples, jnp.int32)
    return replace(
        _asked(many), audio_1=waves[0], audio_2=waves[1], length_1=length, length_2=length
    )


def _remembered(many: int) -> Batch:
    model, one = AdiffModel(MODEL), _heard(1)
    init = partial(model.init_with_output, jax.random.key(0), method="embeddings")
    width = jax.eval_shape(init, one)[0].shape[-1]
    first, second = np.random.default_rng(2).normal(size=(2, many, 1, width)).astype(np.float32)
    return replace(_asked(many), features_1=first, features_2=second)


class _Prefixed(nn.Module):
    """A `Captioner` whose prefix is given: `Batch.features_1`."""

    config: Gpt2

    def setup(self) -> None:
        self.lm = Gpt2Module(self.config)

    def encode(self, batch: Batch, train: bool = False) -> jax.Array:
        return batch.features_1

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        words = self.lm.embed(batch.tokens[:, :-1])
        hidden = self.lm(jnp.concatenate([batch.features_1, words], axis=1), train)
        return Output(self.lm.logits(hidden[:, batch.features_1.shape[1] - 1 :]))

    def prefill(self, conditioning: jax.Array, capacity: int) -> tuple[NextLogits, Gpt2Cache]:
        return self.lm.prefill(conditioning, capacity)

    def extend(self, cache: Gpt2Cache, token: jax.Array) -> tuple[NextLogits, Gpt2Cache]:
        return self.lm.extend(cache, token)


@dataclass(frozen=True)
class _Answering:
    """The objective of an answer after a given prefix."""

    config: Gpt2
    weights = {"answer": 1.0}
    couples_examples = False
    frozen: tuple[str, ...] = ()
    streams = ("dropout",)

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        return _Prefixed(self.config).init(key, batch)

    def loss(
        self, variables: Variables, batch: Batch, rngs: Mapping[str, jax.Array], train: bool
    ) -> tuple[dict[str, Term], Mapping[str, Any], dict[str, Term]]:
        output: Any = _Prefixed(self.config).apply(variables, batch, train, rngs=dict(rngs))
        term = token_cross_entropy(output.logits, batch.tokens, batch.tokens_mask)
        return {"answer": term}, {}, {}
