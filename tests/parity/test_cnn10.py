"""PANNs Cnn10 against the published implementation: same clips, same weights, by name."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.audio.frontends import CNN10, log_mel
from adiff_jax.convert import cnn10
from adiff_jax.convert.engine import StateDict, to_ours
from adiff_jax.convert.shapes import tagger_shapes
from adiff_jax.models.cnn10 import Cnn10, Cnn10Encoder, Cnn10Head
from adiff_jax.models.tagger import Tagger
from tests.convert.states import cnn10_shapes, filled
from tests.golden.recipes import clip
from tests.goldens import golden

GOLDEN = golden("panns_cnn10_golden")


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    """The recipe's weights, through the table of the converter."""
    state = StateDict(filled(cnn10_shapes()))
    return to_ours(cnn10.TABLE, state, tagger_shapes(Tagger(Cnn10(), 527))).variables


@pytest.mark.parametrize("number", [0, 1])
def test_embedding_frames_and_logits(weights: dict[str, Any], number: int) -> None:
    audio = jnp.asarray(clip(number, 32000))[None]
    mels = log_mel(CNN10, audio)
    np.testing.assert_allclose(mels[0, ::10, ::4], GOLDEN[f"c{number}_logmel_sub"], atol=1e-3)

    @jax.jit
    def hear(weights: Any, mels: jax.Array) -> tuple[jax.Array, ...]:
        below = {k: weights[k]["encoder"] for k in ("params", "batch_stats")}
        frames, mask = Cnn10Encoder(Cnn10()).apply(below, mels, jnp.array([mels.shape[1]]))
        head = {"params": weights["params"]["head"]}
        return frames, mask, *Cnn10Head(Cnn10(), 527).apply(head, frames, mask)

    frames, mask, embedding, logits = hear(weights, mels)
    assert frames.shape == (1, 62, 512) and mask.all()
    seed = f"s20261120_c{number}"
    for ours, theirs in (
        (frames[0, ::4, ::4], f"{seed}_block4_freqmean_sub"),
        (embedding[0], f"{seed}_embedding"),
        (logits[0], f"{seed}_logits"),
    ):
        np.testing.assert_allclose(ours, GOLDEN[theirs], rtol=1e-4, atol=1e-4)
