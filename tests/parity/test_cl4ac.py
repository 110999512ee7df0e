"""CL4AC against the published implementation: same log-mels, same weights, by name."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.arrays import Batch
from adiff_jax.convert import cl4ac
from adiff_jax.convert.engine import StateDict
from adiff_jax.decode.beam import Beam
from adiff_jax.decode.generate import Generation, Strategy, generate
from adiff_jax.decode.sampling import Greedy
from adiff_jax.matching import EpochCaption, Matching
from adiff_jax.models.cl4ac import Cl4acConditioning, Cl4acModel
from adiff_jax.objectives import Captioning
from tests.convert.states import CL4AC_GOLDEN, State, cl4ac_leaves, cl4ac_state
from tests.goldens import golden

GOLDEN, BEAMS = golden("cl4ac_golden"), golden("cl4ac_beam_golden")
START, END, LONGEST = 0, 1, 35
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]


class FromMemory(Cl4acModel):
    """Decodes from a given memory, `features_1`, all of it valid."""

    def encode(self, batch: Batch, train: bool = False) -> Cl4acConditioning:
        memory = batch.features_1
        return Cl4acConditioning(memory, jnp.ones(memory.shape[:2], bool))


def inputs(frames: int) -> Inputs:
    """The recipe of the manifest: log-mels [3 frames 64], sentences and negatives [3 36]."""
    rng = np.random.default_rng(20261121 + frames)
    mels = (rng.standard_normal((3, frames, 64, 1)) * 12 - 30).astype(np.float32)[..., 0]

    def sentences(*words: int) -> np.ndarray:
        rows = np.full((len(words), LONGEST + 1), END, np.int32)
        rows[:, 0] = START
        for row, count in zip(rows, words, strict=True):
            row[1 : count + 1] = rng.integers(2, CL4AC_GOLDEN.vocab_size, count)
        return rows

    return mels, sentences(9, 20, 34), sentences(12, 5, 17)


def converted(state: State) -> dict[str, Any]:
    """Our variables, through the table of the converter."""
    return cl4ac.to_ours(StateDict(state), cl4ac_leaves()).variables


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    return converted(cl4ac_state())


@pytest.fixture(scope="module")
def sharp_weights() -> dict[str, Any]:
    """Those of the beams: sentences end, and at different lengths."""
    state = cl4ac_state()
    for name, factor in (
        ("feature_extractor.fc2.weight", 0.3),
        ("word_emb.weight", 10),
        ("dec_fc.weight", 2),
    ):
        state[name] = state[name] * np.float32(factor)
    state["dec_fc.bias"][END] += 4
    state["dec_fc.bias"][START] -= 5
    return converted(state)


@jax.jit
def remembered(weights: Any, mels: jax.Array) -> jax.Array:
    """The memory of log-mels, all frames valid."""

    def hear(model: Cl4acModel) -> jax.Array:
        lengths = jnp.full(mels.shape[0], mels.shape[1])
        heard = model.remember(*model.encoder(mels, lengths))
        return jnp.where(heard.memory_mask[..., None], heard.memory, jnp.nan)

    return Cl4acModel(CL4AC_GOLDEN).apply(weights, method=hear)


@pytest.fixture(scope="module")
def memories(weights: dict[str, Any]) -> dict[int, jax.Array]:
    """By number of frames."""
    return {frames: remembered(weights, inputs(frames)[0]) for frames in (320, 1001)}


def batch_of(memory: Any, tokens: np.ndarray | None = None) -> Batch:
    rows = len(memory)
    return Batch(
        valid=jnp.ones(rows, bool),
        example_id=jnp.arange(rows, dtype=jnp.int32),
        features_1=jnp.asarray(memory),
        tokens=None if tokens is None else jnp.asarray(tokens),
        tokens_mask=None if tokens is None else jnp.ones(tokens.shape, bool),
    )


def decoded(
    weights: Any, memory: Any, strategy: Strategy, stop_ids: tuple[int, ...] = (END,)
) -> Generation:
    return generate(
        FromMemory(CL4AC_GOLDEN),
        weights,
        batch_of(memory),
        strategy,
        max_tokens=LONGEST,
        stop_ids=stop_ids,
    )


def with_start(found: Generation, row: int) -> list[int]:
    """The best sentence of a row as the original has it."""
    return [START, *np.asarray(found.tokens[row, 0])[np.asarray(found.mask[row, 0])].tolist()]


@pytest.mark.parametrize("frames", [320, 1001])
def test_the_recipe_of_the_input_is_the_goldens(frames: int) -> None:
    mels, sentences, negatives = inputs(frames)
    np.testing.assert_array_equal(mels[:, ::40, ::16], GOLDEN[f"T{frames}_x_probe"])
    np.testing.assert_array_equal(sentences, GOLDEN[f"T{frames}_tok"])
    np.testing.assert_array_equal(negatives, GOLDEN[f"T{frames}_neg"])


@pytest.mark.parametrize("frames", [320, 1001])
def test_memory(memories: dict[int, jax.Array], frames: int) -> None:
    expected = GOLDEN[f"s20261120_T{frames}_mem"]
    np.testing.assert_allclose(memories[frames][:, ::2], expected, **TOLERANCE)


@pytest.mark.parametrize("frames", [320, 1001])
def test_logits(weights: dict[str, Any], memories: dict[int, jax.Array], frames: int) -> None:
    batch = batch_of(memories[frames], inputs(frames)[1][:, 1:])
    logits = jax.jit(FromMemory(CL4AC_GOLDEN).apply)(weights, batch).logits
    assert logits.shape == (3, LONGEST, 200)
    np.testing.assert_allclose(logits[:, ::3], GOLDEN[f"s20261120_T{frames}_logits"], **TOLERANCE)


@pytest.mark.parametrize("frames", [320, 1001])
def test_greedy_and_a_beam_of_two(
    weights: dict[str, Any], memories: dict[int, jax.Array], frames: int
) -> None:
    memory, name = memories[frames], f"s20261120_T{frames}"
    greedy = decoded(weights, memory, Greedy(), stop_ids=())
    beam = decoded(weights, memory, Beam(2, stops="each"))
    for row in range(3):
        assert with_start(greedy, row) == GOLDEN[f"{name}_greedy"][row].tolist()
        assert with_start(beam, row) == GOLDEN[f"{name}_beam{row}"].tolist()


def test_greedy_of_sharp_weights(sharp_weights: dict[str, Any]) -> None:
    greedy = decoded(sharp_weights, BEAMS["mem"], Greedy(), stop_ids=())
    assert [with_start(greedy, row) for row in range(3)] == BEAMS["greedy"].tolist()
    batch = batch_of(BEAMS["mem"], BEAMS["greedy"][:, 1:].astype(np.int32))
    logits = jax.jit(FromMemory(CL4AC_GOLDEN).apply)(sharp_weights, batch).logits
    np.testing.assert_allclose(logits[:, ::3], BEAMS["logits_on_greedy"], **TOLERANCE)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_beams_that_end_at_different_lengths(sharp_weights: dict[str, Any], size: int) -> None:
    beam = decoded(sharp_weights, BEAMS["mem"], Beam(size, stops="each"))
    for row in range(3):
        expected = BEAMS[f"beam{size}_{row}"].tolist()
        assert with_start(beam, row) == expected
        assert beam.finished[row, 0] == (expected[-1] == END)


def test_memory_of_sharp_weights(sharp_weights: dict[str, Any]) -> None:
    memory = remembered(sharp_weights, inputs(320)[0])
    louder = memory * (1 + 0.5 * jnp.arange(3))[:, None, None]
    np.testing.assert_allclose(louder, BEAMS["mem"], **TOLERANCE)


@pytest.mark.parametrize("frames", [320, 1001])
def test_matching_scores_and_losses(weights: dict[str, Any], frames: int) -> None:
    """The published loss: padding counted as the end, the negative whatever it is."""
    config = replace(CL4AC_GOLDEN, matching=Matching(EpochCaption()), compat="cl4ac-2021")
    mels, sentences, negatives = inputs(frames)

    def heard(model: Cl4acModel) -> tuple[jax.Array, jax.Array]:
        return model.encoder(jnp.asarray(mels), jnp.full(3, mels.shape[1]))

    found, mask = jax.jit(partial(Cl4acModel(config).apply, method=heard))(weights)
    assert mask.all()
    batch = batch_of(found, sentences[:, 1:])
    batch = replace(
        batch,
        length_1=jnp.full(3, found.shape[1]),
        tokens_mask=up_to_the_end(sentences),
        negative=jnp.asarray(negatives[:, 1:]),
        negative_mask=up_to_the_end(negatives),
        negative_true=jnp.zeros(3, bool),
    )
    name, objective = f"s20261120_T{frames}", Captioning(config, label_smoothing=0.0)
    matched = jax.jit(objective.module.apply)(weights, batch).aux["matching"]
    np.testing.assert_allclose(matched.own, GOLDEN[f"{name}_score_pos"], **TOLERANCE)
    np.testing.assert_allclose(matched.other, GOLDEN[f"{name}_score_neg"], **TOLERANCE)
    terms, _, _ = jax.jit(partial(objective.loss, rngs={}, train=False))(weights, batch)
    losses = [float(terms[name][0] / terms[name][1]) for name in ("caption", "matching")]
    expected = GOLDEN[f"{name}_losses"]
    np.testing.assert_allclose([*losses, sum(losses)], expected, **TOLERANCE)


def up_to_the_end(sentences: np.ndarray) -> jax.Array:
    """Which targets are words, or the first end."""
    before = np.cumsum(sentences[:, 1:] == END, axis=1) - (sentences[:, 1:] == END)
    return jnp.asarray(before == 0)
