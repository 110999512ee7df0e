"""The properties of a captioner, held by CL4AC, and what its options do."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.arrays import Batch
from adiff_jax.audio.augment import SpecAugment
from adiff_jax.audio.frontends import CL4AC as AT_44_KHZ
from adiff_jax.audio.frontends import LogMel
from adiff_jax.matching import EditedCaption, EpochCaption, InBatch, Matching, SwappedOrder
from adiff_jax.models.cl4ac import Cl4ac, Cl4acModel
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.features import Augment
from adiff_jax.objectives import Captioning
from adiff_jax.parallel.mesh import MeshConfig, make_mesh
from adiff_jax.protocol import Captioner
from tests.models.cl4ac_toys import CL4AC, clip_audio, clip_features, fresh_cl4ac, longer
from tests.models.toys import TOKENS, drawn, rows_of
from tests.quick import quick_jit

CNN10 = Cnn10(filters=(4, 4, 8, 8), frontend=LogMel(mels=16), dropout=0.0)
"""Small, at 16 kHz."""

MODEL = Cl4acModel(CL4AC)
FORWARD = quick_jit(MODEL.apply)


def logits(batch: Batch) -> np.ndarray:
    return np.asarray(FORWARD(fresh_cl4ac(CL4AC), batch).logits)


def close(got: Any, expected: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def test_it_is_a_captioner() -> None:
    assert isinstance(MODEL, Captioner)


def test_the_published_size() -> None:
    """Liu et al.: 7,457,881 trainable parameters with 4,375 words."""
    config = replace(Cl4ac(), vocab_size=4375)
    samples = 44_100
    batch = Batch(
        valid=jnp.ones(1, bool),
        example_id=jnp.zeros(1, jnp.int32),
        audio_1=jnp.zeros((1, samples)),
        length_1=jnp.full(1, samples),
        tokens=jnp.zeros((1, 4), jnp.int32),
        tokens_mask=jnp.ones((1, 4), bool),
    )
    shapes = jax.eval_shape(Captioning(config).init, jax.random.key(0), batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 7_457_881


def test_memory_of_thirty_seconds_has_161_frames() -> None:
    frames = AT_44_KHZ.frames(30 * 44_100)
    assert frames == 2584
    for _ in range(4):
        frames //= 2
    assert frames == 161


def test_cached_decoding_equals_the_uncached_forward() -> None:
    batch, variables = clip_features(), fresh_cl4ac(CL4AC)

    @quick_jit
    def start(variables: dict, batch: Batch) -> tuple:
        conditioning = MODEL.apply(variables, batch, method="encode")
        return MODEL.apply(variables, conditioning, TOKENS, method="prefill")

    extend = quick_jit(partial(MODEL.apply, method="extend"))
    expected = logits(batch)
    found, cache = start(variables, batch)
    for place in range(TOKENS):
        close(found, expected[:, place])
        if place + 1 < TOKENS:
            found, cache = extend(variables, cache, batch.tokens[:, place])
    assert all(leaf.shape[0] == 4 for leaf in jax.tree.leaves(cache))


def test_a_row_by_itself_is_its_row_in_a_batch() -> None:
    batch = clip_features()
    whole = logits(batch)
    for row in range(4):
        close(logits(rows_of(batch, slice(row, row + 1))), whole[row : row + 1])


def test_what_lies_past_the_end_of_a_clip_or_a_sentence_changes_nothing() -> None:
    batch = clip_features()
    expected = logits(batch)
    close(logits(longer(batch)), expected)
    other = jnp.where(batch.tokens_mask, batch.tokens, 3)
    changed = logits(replace(batch, tokens=other))
    mask = np.asarray(batch.tokens_mask)
    close(changed[mask], expected[mask])


def test_what_comes_after_a_word_does_not_change_it() -> None:
    batch = clip_features()

    def first(memory: jax.Array) -> jax.Array:
        tokens = jnp.concatenate([batch.tokens[:, :2], memory[:, 2:]], axis=1)
        return FORWARD(fresh_cl4ac(CL4AC), replace(batch, tokens=tokens)).logits[:, :3]

    close(first(batch.tokens), first((batch.tokens + 1) % 20))
    assert np.abs(first(batch.tokens) - first(batch.tokens.at[:, 1].add(1))).max() == 0


def test_another_clip_changes_the_logits() -> None:
    batch = clip_features()
    other = replace(batch, features_1=batch.features_1[::-1], length_1=batch.length_1[::-1])
    assert np.abs(logits(batch) - logits(other)).max() > 0.01


def scores(config: Cl4ac, batch: Batch) -> tuple[np.ndarray, np.ndarray | None]:
    found = quick_jit(Cl4acModel(config).apply)(fresh_cl4ac(config), batch).aux["matching"]
    return np.asarray(found.own), None if found.other is None else np.asarray(found.other)


def test_the_matching_head_reads_the_last_word() -> None:
    """Scores change with the last word, and not with what pads the sentence."""
    batch = clip_features()
    own, other = scores(CL4AC, batch)
    assert own.shape == other.shape == (4, 2)
    lengths = np.asarray(batch.tokens_mask.sum(axis=1))
    padded = replace(batch, tokens=jnp.where(batch.tokens_mask, batch.tokens, 4))
    close(scores(CL4AC, padded)[0], own)
    ending = replace(batch, tokens=batch.tokens.at[jnp.arange(4), lengths - 1].set(5))
    close(scores(CL4AC, ending)[0], own)  # the end itself has not been read
    last = batch.tokens.at[jnp.arange(4), lengths - 2].set(5)
    assert (np.abs(scores(CL4AC, replace(batch, tokens=last))[0] - own).max(axis=1) > 1e-4).all()


def test_a_negative_is_scored_as_its_own_sentence_would_be() -> None:
    batch = clip_features()
    exchanged = replace(
        batch,
        tokens=batch.negative,
        tokens_mask=batch.negative_mask,
        negative=batch.tokens,
        negative_mask=batch.tokens_mask,
    )
    (own, other), (own_then, other_then) = scores(CL4AC, batch), scores(CL4AC, exchanged)
    close(other, own_then)
    close(own, other_then)


def test_without_negatives_or_without_the_loss() -> None:
    batch = replace(clip_features(), negative=None, negative_mask=None)
    assert scores(CL4AC, batch)[1] is None
    silent = replace(CL4AC, matching=None)
    variables = fresh_cl4ac(silent)
    assert "matching" not in variables["params"]
    assert quick_jit(Cl4acModel(silent).apply)(variables, batch).aux == {}


@pytest.mark.parametrize(
    "encoder",
    [pytest.param(CL4AC.encoder, marks=pytest.mark.slow), CNN10],
    ids=["byol-a", "cnn10"],
)
def test_padding_of_audio_changes_nothing_at_multiples_of_the_pooling(encoder: Any) -> None:
    """The edge: within half a window of the end, padding is heard instead of a reflection."""
    config = replace(CL4AC, encoder=encoder)
    batch, hop = clip_audio(), encoder.frontend.hop * encoder.stride
    length = (batch.audio_1.shape[1] // hop) * hop - hop
    audio = jnp.where(jnp.arange(batch.audio_1.shape[1]) < length - 2 * hop, batch.audio_1, 0)
    batch = replace(batch, audio_1=audio, length_1=jnp.full(4, length))
    variables = fresh_cl4ac(config, audio=True)
    forward = jax.jit(Cl4acModel(config).apply)
    noise = audio.at[:, length + encoder.frontend.window :].set(0.7)
    cut = replace(batch, audio_1=audio[:, : length + encoder.frontend.window])
    expected = forward(variables, batch).logits
    close(forward(variables, cut).logits, expected, 1e-4)
    close(forward(variables, replace(batch, audio_1=noise)).logits, expected, 1e-4)


def test_cnn10_masks_by_its_own_spec_augment_and_only_in_training() -> None:
    wide = replace(CNN10, augment=SpecAugment(2, 30, 2, 12))
    config = replace(CL4AC, encoder=wide, freeze_encoder=True)
    batch, variables = clip_audio(), fresh_cl4ac(config, audio=True)
    apply = quick_jit(Cl4acModel(config).apply, static_argnames="train")
    first, again, other = (
        apply(variables, batch, train=True, rngs={"augment": jax.random.key(k), "dropout": KEY})
        for k in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.logits, again.logits)
    assert np.abs(first.logits - other.logits).max() > 1e-3
    assert np.abs(first.logits - apply(variables, batch).logits).max() > 1e-3


KEY = jax.random.key(7)


def test_a_frozen_encoder_keeps_its_statistics() -> None:
    batch = clip_audio()
    rngs = {name: jax.random.key(3) for name in ("augment", "dropout")}
    for frozen in (False, True):
        config = replace(CL4AC, freeze_encoder=frozen)
        variables = fresh_cl4ac(config, audio=True)
        _, after, _ = Captioning(config).loss(variables, batch, rngs, True)
        same = jax.tree.map(lambda a, b: bool((a == b).all()), after, variables["batch_stats"])
        assert all(jax.tree.leaves(same)) == frozen
        assert Captioning(config).couples_examples is not frozen


@pytest.mark.parametrize(
    "negative", [SwappedOrder(), EditedCaption()], ids=lambda n: type(n).__name__
)
def test_negatives_of_pairs_are_refused(negative: Any) -> None:
    with pytest.raises(ValueError, match="which is for pairs"):
        replace(CL4AC, matching=Matching(negative))


def test_compat_has_the_published_negatives_only() -> None:
    with pytest.raises(ValueError, match="the published code has EpochCaption"):
        replace(CL4AC, matching=Matching(InBatch()), compat="cl4ac-2021")
    replace(CL4AC, matching=Matching(EpochCaption()), compat="cl4ac-2021")
    replace(CL4AC, matching=None, compat="cl4ac-2021")


def test_an_augmentation_that_cnn10_would_not_hear_of_is_refused() -> None:
    with pytest.raises(ValueError, match="set encoder.augment"):
        replace(CL4AC, encoder=CNN10, augment=Augment(spec=SpecAugment(9, 9, 9, 9)))


def test_compat_learns_the_padding_as_the_end() -> None:
    """The mean over all places, those after the end included, of the end token's id."""
    quirky = replace(CL4AC, matching=Matching(EpochCaption()), compat="cl4ac-2021")
    batch, variables = clip_features(), fresh_cl4ac(quirky)
    terms, _, _ = quick_jit(partial(Captioning(quirky).loss, rngs={}, train=False))(
        variables, batch
    )
    end = quirky.decoder.end_id
    filled = replace(batch, tokens=jnp.where(batch.tokens_mask, batch.tokens, end))
    found = quick_jit(Cl4acModel(quirky).apply)(variables, filled).logits
    chosen = jax.nn.log_softmax(found)[jnp.arange(4)[:, None], jnp.arange(TOKENS), filled.tokens]
    assert terms["caption"][1] == 4 * TOKENS
    close(terms["caption"][0], -chosen.sum(), 1e-3)


@pytest.mark.parametrize(
    "shape", [(2, 2, 2), pytest.param((8, 1, 1), marks=pytest.mark.slow)], ids=str
)
def test_any_mesh_gives_the_same_loss(shape: tuple[int, int, int]) -> None:
    """In-batch negatives and batch statistics are over the global batch."""
    config = replace(CL4AC, matching=Matching(InBatch()))
    batch, variables = clip_audio(8), fresh_cl4ac(config, audio=True)
    rngs = {name: jax.random.key(3) for name in ("augment", "dropout", "negatives")}
    loss = jax.jit(partial(Captioning(config).loss, train=True))
    alone, _, metrics = loss(variables, batch, rngs=rngs)
    mesh = make_mesh(MeshConfig(*shape))
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    spread, _, metrics_there = loss(variables, jax.device_put(batch, rows), rngs=rngs)
    for name, (value, weight) in {**alone, **metrics}.items():
        found = {**spread, **metrics_there}[name]
        np.testing.assert_allclose(found[0], value, rtol=1e-5, atol=1e-6, err_msg=name)
        assert found[1] == weight


def test_drawn_variables_are_of_this_model() -> None:
    shapes = jax.eval_shape(Captioning(CL4AC).init, jax.random.key(0), clip_features())
    assert {*shapes["params"]} == {"bridge_1", "bridge_2", "decoder", "matching"}
    assert jax.tree.structure(drawn(shapes)) == jax.tree.structure(shapes)
