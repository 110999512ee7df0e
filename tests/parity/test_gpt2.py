"""GPT-2 against the PyTorch implementation of `transformers`, from the same random weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from adiff_jax.decode.sampling import Greedy, next_tokens
from adiff_jax.losses import token_cross_entropy
from adiff_jax.models.gpt2 import Gpt2, Gpt2Module
from tests.quick import quick_jit

CONFIG = Gpt2(layers=3, heads=4, width=32, positions=40, vocab_size=97)
MODULE = Gpt2Module(CONFIG)
PREFIX, ANSWER = 9, 7


@pytest.fixture(scope="module")
def theirs() -> Any:
    """A small model of theirs whose weights are large enough that every term matters."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_layer=CONFIG.layers,
            n_head=CONFIG.heads,
            n_embd=CONFIG.width,
            n_positions=CONFIG.positions,
            vocab_size=CONFIG.vocab_size,
            bos_token_id=0,
            eos_token_id=0,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def ours(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Weights, or gradients, of theirs under our names and shapes. Their kernels are (in, out)."""
    heads, size = CONFIG.heads, CONFIG.width // CONFIG.heads

    def at(name: str, *shape: int) -> np.ndarray:
        value = state[f"transformer.{name}"].numpy()
        return value.reshape(shape) if shape else value

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"scale": at(f"{name}.weight"), "bias": at(f"{name}.bias")}

    def dense(name: str, kernel: tuple[int, ...] = (), bias: tuple[int, ...] = ()) -> dict:
        return {"kernel": at(f"{name}.weight", *kernel), "bias": at(f"{name}.bias", *bias)}

    def layer(name: str) -> dict[str, Any]:
        heads_of_three = (3, heads, size)
        return {
            "norm_1": norm(f"{name}.ln_1"),
            "qkv": dense(f"{name}.attn.c_attn", (CONFIG.width, *heads_of_three), heads_of_three),
            "out": dense(f"{name}.attn.c_proj", (heads, size, CONFIG.width)),
            "norm_2": norm(f"{name}.ln_2"),
            "expand": dense(f"{name}.mlp.c_fc"),
            "contract": dense(f"{name}.mlp.c_proj"),
        }

    layers = {f"layers_{i}": layer(f"h.{i}") for i in range(CONFIG.layers)}
    return {"wte": at("wte.weight"), "wpe": at("wpe.weight"), "norm": norm("ln_f"), **layers}


@pytest.fixture(scope="module")
def variables(theirs: Any) -> dict[str, Any]:
    return {"params": jax.tree.map(jnp.asarray, ours(theirs.state_dict()))}


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, PREFIX, CONFIG.width)).astype(np.float32)


def answers() -> np.ndarray:
    return np.random.default_rng(1).integers(0, CONFIG.vocab_size, (2, ANSWER))


def test_every_weight_has_its_place(variables: dict[str, Any]) -> None:
    shapes = jax.eval_shape(MODULE.init, jax.random.key(0), jnp.ones((1, 2, CONFIG.width)))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)


def test_hidden_states_and_logits(theirs: Any, variables: dict, inputs: np.ndarray) -> None:
    with torch.no_grad():
        hidden = theirs.transformer(inputs_embeds=torch.tensor(inputs)).last_hidden_state
        logits = theirs(inputs_embeds=torch.tensor(inputs)).logits
    got = quick_jit(MODULE.apply)(variables, inputs)
    np.testing.assert_allclose(got, hidden, rtol=1e-5, atol=2e-5)
    got = MODULE.apply(variables, got, method="logits")
    np.testing.assert_allclose(got, logits, rtol=1e-5, atol=1e-4)


def test_gradients_of_the_loss_of_an_answer(
    theirs: Any, variables: dict, inputs: np.ndarray
) -> None:
    """The answer after a prefix, the second row one token shorter; the gradient of every weight."""
    tokens = answers()
    mask = np.arange(ANSWER)[None] < np.array([[ANSWER], [ANSWER - 1]])
    theirs.zero_grad()
    embedded = theirs.transformer.wte(torch.tensor(tokens))
    labels = torch.tensor(np.where(mask, tokens, -100))
    labels = torch.cat([torch.full((2, PREFIX), -100), labels], dim=1)
    both = torch.cat([torch.tensor(inputs), embedded], dim=1)
    expected = theirs(inputs_embeds=both, labels=labels).loss
    expected.backward()
    named = {name: parameter.grad for name, parameter in theirs.named_parameters()}

    def answer_logits(module: Gpt2Module) -> jax.Array:
        read = jnp.concatenate([jnp.asarray(inputs), module.embed(jnp.asarray(tokens))], axis=1)
        return module.logits(module(read)[:, PREFIX - 1 : -1])

    def loss(variables: dict) -> jax.Array:
        logits = MODULE.apply(variables, method=answer_logits)
        total, weight = token_cross_entropy(logits, jnp.asarray(tokens), jnp.asarray(mask))
        return total / weight

    value, gradients = quick_jit(jax.value_and_grad(loss))(variables)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5),
        gradients["params"],
        ours(named),
    )


def test_cached_greedy_tokens_are_those_of_their_generate(
    theirs: Any, variables: dict, inputs: np.ndarray
) -> None:
    many = 20
    expected = theirs.generate(
        inputs_embeds=torch.tensor(inputs),
        attention_mask=torch.ones(inputs.shape[:2]),
        max_new_tokens=many,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )

    def greedy(module: Gpt2Module) -> jax.Array:
        logits, cache = module.prefill(jnp.asarray(inputs), many)
        found = [next_tokens(Greedy(), logits)]
        for _ in range(many - 1):
            logits, cache = module.extend(cache, found[-1])
            found.append(next_tokens(Greedy(), logits))
        return jnp.stack(found, axis=1)

    got = np.asarray(quick_jit(lambda v: MODULE.apply(v, method=greedy))(variables))
    assert len(np.unique(got)) > 3  # not one token over and over
    np.testing.assert_array_equal(got, expected)
