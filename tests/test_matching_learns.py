"""What a model learns of the matching loss: to hear, or to know one sentence.

A toy of 8 kinds of clips, each with captions of its own words; a tiny CL4AC is trained for some
seconds on either kind of negatives.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.arrays import Batch
from adiff_jax.matching import AnotherCaption, EpochCaption, Matching, Negative
from adiff_jax.objectives import Captioning, matching_controls
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.parallel.sharding import Rules
from adiff_jax.train.optim import Optimizer
from adiff_jax.train.state import abstract_state, fresh_state
from adiff_jax.train.step import make_train_step
from tests.models.cl4ac_toys import CL4AC, identities
from tests.models.toys import FRAMES, TOKENS, WIDTH

KINDS, ROWS = 8, 32
SOUNDS = np.random.default_rng(0).standard_normal((KINDS, WIDTH)).astype(np.float32)


def captions(kinds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two words that tell the kind, in either order, between words that tell nothing."""
    first = 4 + 2 * kinds + rng.integers(0, 2, kinds.shape)
    rest = rng.integers(20, 23, (len(kinds), TOKENS - 2))
    return np.column_stack([rest[:, :2], first, rest[:, 2:], np.full(len(kinds), 2)])


def batch_of(negative: Negative, step: int) -> Batch:
    rng = np.random.default_rng(step + 1)
    kinds = rng.integers(0, KINDS, ROWS)
    noise = 0.3 * rng.standard_normal((ROWS, FRAMES, WIDTH))
    if isinstance(negative, EpochCaption):
        others = np.zeros(ROWS, int)
        words = np.repeat(captions(others[:1], np.random.default_rng(99)), ROWS, axis=0)
    else:
        others = rng.integers(0, KINDS, ROWS)
        words = captions(others, rng)
    mask = jnp.ones((ROWS, TOKENS), bool)
    return Batch(
        valid=jnp.ones(ROWS, bool),
        example_id=jnp.arange(ROWS),
        features_1=jnp.asarray(SOUNDS[kinds][:, None] + noise, jnp.float32),
        length_1=jnp.full(ROWS, FRAMES),
        tokens=jnp.asarray(captions(kinds, rng), jnp.int32),
        tokens_mask=mask,
        **{**identities(ROWS), "scene_id": jnp.asarray(kinds, jnp.int32)},
        changed=jnp.ones(ROWS, bool),
        negative=jnp.asarray(words, jnp.int32),
        negative_mask=mask,
        negative_true=jnp.asarray(others == kinds),
    )


def learnt(negative: Negative, steps: int) -> tuple[float, float]:
    """Accuracy of the answers on fresh clips after so many steps, and under the clips of others."""
    compat = "cl4ac-2021" if isinstance(negative, EpochCaption) else ""
    model = replace(CL4AC, matching=Matching(negative), compat=compat)
    objective = Captioning(model, label_smoothing=0.0)
    optimizer = Optimizer(learning_rate=2e-3, weight_decay=0.0)
    given = objective, optimizer, steps
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    batch = batch_of(negative, 0)
    state = fresh_state(*given, batch, 0, abstract_state(*given, batch, mesh, Rules()))
    step = jax.jit(make_train_step(*given), donate_argnums=0)
    for number in range(steps):
        state, _ = step(state, batch_of(negative, number), jnp.uint32(0), np.int32(number))
    fresh = batch_of(negative, steps + 1)
    _, _, metrics = jax.jit(lambda v, b: objective.loss(v, b, {}, False))(state.variables, fresh)
    control = jax.jit(lambda v, b: matching_controls(objective, v, b))(state.variables, fresh)
    return tuple(
        float(term[0] / term[1])
        for term in (metrics["matching_accuracy"], control["matching_caption_only"])
    )


@pytest.mark.slow
def test_the_published_negative_is_told_by_the_sentence_alone() -> None:
    accuracy, caption_only = learnt(EpochCaption(), 60)
    assert accuracy > 0.95
    assert caption_only > 0.95


@pytest.mark.slow
def test_another_caption_is_told_by_hearing_only() -> None:
    accuracy, caption_only = learnt(AnotherCaption(), 300)
    assert accuracy > 0.85
    assert 0.3 < caption_only < 0.65
