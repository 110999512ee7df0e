"""The properties of a captioner, held by ADC-SDD; tests of its own options follow them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.arrays import Batch
from adiff_jax.models.adc import Adc, AdcModel
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.cac import DifferenceEncoder
from adiff_jax.models.features import Augment
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.protocol import Captioner
from tests.lowered import collectives, products
from tests.models.toys import (
    ADC,
    FRAMES,
    TOKENS,
    VOCABULARY,
    audio_batch,
    feature_batch,
    fresh,
    logits_of,
    rows_of,
    swapped,
    with_sdd,
)
from tests.quick import quick_jit

UNMASKED = replace(
    ADC, comparison=replace(ADC.comparison, mask="none", layers=2), difference_tokens=2
)
NO_SEGMENTS = replace(ADC, comparison=replace(ADC.comparison, segments=False))
ARMS = {"cac": ADC, "full attention and difference tokens": UNMASKED}
every_arm = pytest.mark.parametrize("adc", ARMS.values(), ids=ARMS)


def close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def test_it_is_a_captioner() -> None:
    assert isinstance(AdcModel(ADC), Captioner)


@every_arm
def test_cached_decoding_equals_the_uncached_forward(adc: Adc) -> None:
    batch, variables, model = feature_batch(), fresh(adc), AdcModel(adc)

    @quick_jit
    def start(variables: dict, batch: Batch) -> tuple:
        conditioning = model.apply(variables, batch, method="encode")
        return model.apply(variables, conditioning, TOKENS, method="prefill")

    extend = quick_jit(partial(model.apply, method="extend"))
    logits, cache = start(variables, batch)
    steps = [logits]
    for step in range(TOKENS - 1):
        logits, cache = extend(variables, cache, batch.tokens[:, step])
        steps.append(logits)
    close(np.stack(steps, axis=1), logits_of(adc, batch))


@every_arm
def test_batch_is_the_first_axis_of_every_leaf_that_decoding_keeps(adc: Adc) -> None:
    model, batch, variables = AdcModel(adc), feature_batch(rows=3), fresh(adc)
    conditioning = jax.eval_shape(partial(model.apply, method="encode"), variables, batch)

    def start(variables: dict, conditioning: object) -> tuple:
        return model.apply(variables, conditioning, 5, method="prefill")

    _, cache = jax.eval_shape(start, variables, conditioning)
    leaves = jax.tree.leaves((conditioning, cache))
    assert len(leaves) >= 8
    assert {leaf.shape[0] for leaf in leaves} == {3}


def test_a_batch_of_one_equals_its_row_in_a_batch_of_many() -> None:
    batch = audio_batch()
    together = logits_of(ADC, batch)
    for row in range(4):
        one = slice(row, row + 1)
        close(logits_of(ADC, rows_of(batch, one)), together[one])


@every_arm
def test_padding_of_tokens_and_of_memory_changes_nothing(adc: Adc) -> None:
    batch = feature_batch()
    rubbish = jnp.full((4, 3, 16), 1e3)

    def padded(features: jax.Array, length: jax.Array) -> jax.Array:
        inside = (jnp.arange(FRAMES)[None] < length[:, None])[..., None]
        return jnp.concatenate([jnp.where(inside, features, -1e3), rubbish], axis=1)

    longer = batch.replace(
        features_1=padded(batch.features_1, batch.length_1),
        features_2=padded(batch.features_2, batch.length_2),
        tokens=jnp.pad(batch.tokens, ((0, 0), (0, 2)), constant_values=1),
        tokens_mask=jnp.pad(batch.tokens_mask, ((0, 0), (0, 2))),
    )
    close(logits_of(adc, longer)[:, :TOKENS], logits_of(adc, batch))


@every_arm
def test_swapping_the_clips_changes_the_logits(adc: Adc) -> None:
    batch = feature_batch()
    assert np.abs(logits_of(adc, swapped(batch)) - logits_of(adc, batch)).max() > 1e-2


def test_the_order_of_the_clips_is_lost_without_segments_and_global_positions() -> None:
    batch = feature_batch()
    close(logits_of(NO_SEGMENTS, swapped(batch)), logits_of(NO_SEGMENTS, batch), 1e-6)


def test_global_positions_or_difference_tokens_tell_the_clips_apart_without_segments() -> None:
    batch = feature_batch()
    everywhere = replace(NO_SEGMENTS.comparison, positions="global")
    arms = replace(NO_SEGMENTS, comparison=everywhere), replace(NO_SEGMENTS, difference_tokens=2)
    for adc in arms:
        assert np.abs(logits_of(adc, swapped(batch)) - logits_of(adc, batch)).max() > 1e-3


@every_arm
def test_a_clip_of_length_zero_gives_no_nan_and_no_nan_gradient(adc: Adc) -> None:
    batch = feature_batch()
    sum_of = quick_jit(jax.value_and_grad(lambda v, b: AdcModel(adc).apply(v, b).logits.sum()))
    for lengths in ((0, FRAMES), (FRAMES, 0), (0, 0)):
        empty = batch.replace(
            length_1=batch.length_1.at[1].set(lengths[0]),
            length_2=batch.length_2.at[1].set(lengths[1]),
        )
        value, gradient = sum_of(fresh(adc), empty)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        close(logits_of(adc, empty)[2:], logits_of(adc, batch)[2:])


def test_a_clip_of_length_zero_is_guarded_from_audio_on() -> None:
    batch = audio_batch()
    empty = batch.replace(
        audio_1=batch.audio_1.at[0].set(0.0), length_1=batch.length_1.at[0].set(0)
    )
    logits = logits_of(ADC, empty)
    assert np.isfinite(logits).all()
    close(logits[1:], logits_of(ADC, batch)[1:])


def test_bfloat16_computes_near_float32_and_returns_float32() -> None:
    half, batch = replace(ADC, compute="bfloat16"), audio_batch()
    shapes = jax.eval_shape(partial(AdcModel(half).init, jax.random.key(0)), batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    expected = logits_of(ADC, batch)
    logits = logits_of(half, batch, fresh(ADC, audio=True))
    assert logits.dtype == np.float32
    assert 0 < np.abs(logits - expected).mean() < 0.02 * expected.std()


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_log_mel_and_final_logits_are_float32_at_highest_precision(compute: str) -> None:
    adc = replace(ADC, compute=compute)
    batch = audio_batch()
    lowered = jax.jit(AdcModel(adc).apply).lower(fresh(ADC, audio=True), batch)
    found = products(lowered)
    logits = [product for product in found if product.shape[-1:] == (VOCABULARY,)]
    log_mel = [p for p in found if len(p.shape) == 3 and p.shape[:2] == (2 * 4, 41)]
    assert len(logits) == 1 and len(log_mel) == 5
    assert all(p.highest and p.type == "f32" for p in logits + log_mel)
    # The rest follows the compute dtype and the backend's default.
    rest = [product for product in found if product not in logits + log_mel]
    assert {product.type for product in rest} == {"f32" if compute == "float32" else "bf16"}


@pytest.mark.parametrize("train", [False, True])
def test_no_row_leaves_its_device_between_audio_and_memory(train: bool) -> None:
    # Batch statistics are over the global batch, so training is asked of a frozen encoder.
    adc = replace(ADC, freeze_encoder=train, augment=Augment(shift_seconds=0.1))
    batch = audio_batch(rows=8)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    everywhere, by_row = (NamedSharding(mesh, p) for p in (PartitionSpec(), PartitionSpec("data")))

    def encode(variables: dict, key: jax.Array, batch: Batch) -> object:
        rngs = {"augment": key, "dropout": key}
        return AdcModel(adc).apply(variables, batch, train, rngs=rngs, method="encode")

    spread = jax.jit(encode, in_shardings=(everywhere, everywhere, by_row), out_shardings=by_row)
    lowered = spread.lower(fresh(ADC, audio=True), jax.random.key(0), batch)
    assert not collectives(lowered.compile().as_text())


def test_cached_features_give_what_their_audio_gives() -> None:
    adc = replace(ADC, freeze_encoder=True)
    batch, variables = audio_batch(), fresh(adc, audio=True)
    clip_frames = partial(AdcModel(adc).apply, train=False, method="clip_frames")
    frames_1, frames_2, mask_1, mask_2 = quick_jit(clip_frames)(variables, batch)
    cached = batch.replace(
        audio_1=None,
        audio_2=None,
        features_1=frames_1,
        features_2=frames_2,
        length_1=mask_1.sum(axis=1),
        length_2=mask_2.sum(axis=1),
    )
    close(logits_of(adc, cached, variables), logits_of(adc, batch, variables))


def test_both_clips_are_augmented_alike() -> None:
    augment = Augment(shift_seconds=0.2)
    adc = replace(ADC, augment=augment, freeze_encoder=True)
    batch = audio_batch()
    twice = batch.replace(audio_2=batch.audio_1, length_2=batch.length_1)

    def frames(key: jax.Array) -> tuple:
        rngs = {"augment": key}
        apply = partial(AdcModel(adc).apply, train=True, rngs=rngs, method="clip_frames")
        return apply(fresh(ADC, audio=True), twice)

    keys = (jax.random.key(k, impl="rbg") for k in (0, 1))
    (first, second, *_), (other, *_) = map(quick_jit(frames), keys)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


def test_a_frozen_encoder_is_in_evaluation_mode_while_the_rest_trains() -> None:
    silent = Augment(spec=replace(Augment().spec, time_width=0, mel_width=0))
    encoder = replace(ADC.encoder, dropout=0.5)
    adc = replace(ADC, encoder=encoder, augment=silent, freeze_encoder=True)
    variables, batch = fresh(adc, audio=True), audio_batch()
    clip_frames = partial(AdcModel(adc).apply, method="clip_frames", mutable=["batch_stats"])
    rngs = {name: jax.random.key(0, impl="rbg") for name in ("augment", "dropout")}
    (training, *_), updated = quick_jit(partial(clip_frames, train=True, rngs=rngs))(
        variables, batch
    )
    (evaluating, *_), _ = quick_jit(partial(clip_frames, train=False))(variables, batch)
    close(training, evaluating)
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])


def test_the_difference_channel_tells_what_changed_and_is_zero_when_nothing_did() -> None:
    adc = replace(ADC, encoder=replace(ADC.encoder, channels=2), difference_channel=True)
    variables, batch = fresh(adc, audio=True), audio_batch()
    twice = batch.replace(audio_2=batch.audio_1, length_2=batch.length_1)
    kernel = variables["params"]["encoder"]["conv_1"]["kernel"]
    deaf = jax.tree.map(jnp.asarray, variables)  # a copy of the nest of dictionaries
    deaf["params"]["encoder"]["conv_1"]["kernel"] = kernel.at[:, :, 1].set(0.0)
    close(logits_of(adc, twice, deaf), logits_of(adc, twice, variables), 1e-6)
    assert np.abs(logits_of(adc, batch, deaf) - logits_of(adc, batch, variables)).max() > 1e-3


def test_the_difference_channel_does_not_hear_what_follows_the_shorter_clip() -> None:
    adc = replace(ADC, encoder=replace(ADC.encoder, channels=2), difference_channel=True)
    batch = audio_batch()
    window = adc.encoder.frontend.window  # frames at the end of a clip still see it
    after = jnp.arange(batch.audio_2.shape[1])[None] >= batch.length_2[:, None] + window
    assert after.any()
    louder = batch.replace(audio_2=jnp.where(after, 9.0, batch.audio_2))
    close(logits_of(adc, louder), logits_of(adc, batch), 1e-6)


def test_a_difference_channel_is_not_to_be_had_from_cached_features() -> None:
    adc = replace(ADC, encoder=replace(ADC.encoder, channels=2), difference_channel=True)
    with pytest.raises(ValueError, match="difference_channel: cached features are of single"):
        jax.eval_shape(partial(AdcModel(adc).init, jax.random.key(0)), feature_batch())


def test_both_clips_are_given_the_same_difference() -> None:
    adc = replace(ADC, encoder=replace(ADC.encoder, channels=2), difference_channel=True)
    variables = jax.tree.map(jnp.asarray, fresh(adc, audio=True))
    kernel = variables["params"]["encoder"]["conv_1"]["kernel"]
    variables["params"]["encoder"]["conv_1"]["kernel"] = kernel.at[:, :, 0].set(0.0)
    batch = audio_batch()
    whole = batch.replace(length_2=batch.length_1)
    clip_frames = quick_jit(partial(AdcModel(adc).apply, train=False, method="clip_frames"))
    first, second, *_ = clip_frames(variables, whole)
    np.testing.assert_array_equal(first, second)
    back, _, *_ = clip_frames(variables, swapped(whole))
    assert np.abs(first - back).max() > 1e-3


def test_a_difference_channel_that_the_encoder_lacks_is_refused() -> None:
    adc = replace(ADC, difference_channel=True)
    with pytest.raises(ValueError, match="set encoder.channels to 2"):
        jax.eval_shape(partial(AdcModel(adc).init, jax.random.key(0)), audio_batch())


def test_widths_that_do_not_fit_are_refused_with_both_names() -> None:
    with pytest.raises(ValueError, match=r"comparison.width \(32\) and decoder.width \(64\)"):
        Adc(comparison=DifferenceEncoder(width=32), decoder=TextDecoder(width=64))


def test_sdd_reads_and_does_not_touch_what_the_decoder_reads() -> None:
    adc, batch = with_sdd(stage="late", segments=False), feature_batch()
    params = {k: v for k, v in fresh(adc)["params"].items() if k != "pooling"}
    close(logits_of(adc, batch), logits_of(ADC, batch, {"params": params}), 1e-6)


def test_activations_are_placed_where_the_caller_says() -> None:
    placed = {}

    def constrain(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        placed[x.shape] = axes
        return x

    jax.eval_shape(AdcModel(ADC, constrain).apply, fresh(ADC), feature_batch())
    assert placed == {
        (4, 2 * FRAMES, 16): ("batch", None, None),
        (4, TOKENS, 16): ("batch", None, None),
        (4, TOKENS, VOCABULARY): ("batch", None, "vocab"),
    }


def test_the_default_configuration_builds() -> None:
    batch = audio_batch()
    variables = jax.eval_shape(partial(AdcModel(Adc()).init, jax.random.key(0)), batch)
    logits = jax.eval_shape(AdcModel(Adc()).apply, variables, batch).logits
    assert logits.shape == (4, TOKENS, Adc().vocab_size)
    assert isinstance(Adc().encoder, StridedByolA)
