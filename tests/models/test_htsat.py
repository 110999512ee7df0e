"""HTSAT: sizes, rows that do not touch each other, the picture; values: tests/parity/test_htsat."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from adiff_jax.audio.augment import SpecAugment
from adiff_jax.audio.frontends import LogMel, log_mel
from adiff_jax.models.features import Augment
from adiff_jax.models.htsat import HTSAT_SMALL, Htsat, HtsatEncoder, HtsatHead, bicubic_matrix
from adiff_jax.models.tagger import Heard, Tagger, TaggerModel
from tests.lowered import collectives, products
from tests.models.toys import drawn
from tests.quick import quick_jit

TINY = Htsat(
    frontend=LogMel(rate=8000, window=256, hop=80, mels=8, fmin=50.0, fmax=4000.0),
    width=8,
    depths=(2, 2),
    heads=(2, 2),
    window=4,
    patch=2,
    chunks=2,
    columns=32,
    stochastic_depth=0.0,
    augment=SpecAugment(time_stripes=1, time_width=20, mel_stripes=0),
)
"""Pictures of 16 × 32, grids of 8 × 16 and 4 × 8."""
SAMPLES = 4800  # 61 frames, stretched to 64
FRAMES = 61
CLASSES = 3
ROWS = 3
RNG = np.random.default_rng(0)
AUDIO = jnp.asarray(0.1 * RNG.standard_normal((ROWS, SAMPLES)), jnp.float32)
LENGTHS = jnp.full((ROWS,), SAMPLES, jnp.int32)
VALID = jnp.ones(ROWS, bool)


def model(config: Htsat = TINY, classes: int = CLASSES, **settings: Any) -> TaggerModel:
    return TaggerModel(Tagger(encoder=config, classes=classes, **settings))


def shapes(config: Htsat, classes: int = CLASSES, samples: int = SAMPLES) -> dict[str, Any]:
    audio = jax.ShapeDtypeStruct((1, samples), jnp.float32)
    init = partial(model(config, classes).init, jax.random.key(0), method="listen")
    return jax.eval_shape(init, audio, LENGTHS[:1], VALID[:1])


@cache
def variables() -> dict[str, Any]:
    return drawn(shapes(TINY))


@cache
def listener() -> Any:
    return quick_jit(partial(model().apply, variables(), method="listen"))


@cache
def trainer() -> Any:
    """(audio, lengths, valid, key) -> Heard in training and the new batch statistics."""

    @quick_jit
    def train(audio: jax.Array, lengths: jax.Array, valid: jax.Array, key: jax.Array) -> Any:
        return model().apply(
            variables(), audio, lengths, valid, True, key, method="listen", mutable=["batch_stats"]
        )

    return train


def size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_published_number_of_parameters() -> None:
    params = shapes(Htsat(), 527, 320_000)["params"]
    assert size(params["encoder"]) == 27_534_488
    # less the constants of the spectrum and the mel filters, and a layer that nothing reads
    assert size(params) == 31_325_143 - 1_050_624 - 32_832 - (527 * 527 + 527)


def test_the_small_one_is_small() -> None:
    params = shapes(HTSAT_SMALL, 10, 320_000)["params"]
    assert 1_000_000 < size(params) < 2_000_000
    assert HTSAT_SMALL.grids[-1] == Htsat().grids[-1] == (8, 8)


@pytest.mark.parametrize("config", [Htsat(), HTSAT_SMALL], ids=["published", "small"])
def test_ten_seconds_have_an_embedding_and_logits(config: Htsat) -> None:
    audio = jax.ShapeDtypeStruct((2, 320_000), jnp.float32)
    listen = partial(model(config, 5).apply, method="listen")
    heard = jax.eval_shape(
        listen, shapes(config, 5, 320_000), audio, LENGTHS[:2], jnp.ones(2, bool)
    )
    assert heard.embedding.shape == (2, config.embedding_width)
    assert heard.logits.shape == (2, 5)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"depths": ()}, "depths"),
        ({"heads": (2,)}, "heads"),
        ({"heads": (3, 2)}, "heads"),
        ({"window": 3}, "window"),
        ({"window": 8}, "window"),
        ({"columns": 24}, "window"),
        ({"columns": 33}, "patch"),
        ({"patch": 3}, "patch"),
        ({"chunks": 8, "columns": 4}, "window"),
        ({"chunks": 16, "frontend": replace(TINY.frontend, mels=2)}, "chunks"),
        ({"stochastic_depth": 1.0}, "stochastic_depth"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"Htsat.{field} is "):
        replace(TINY, **changes)


def test_a_mask_that_htsat_would_not_hear_of_is_refused() -> None:
    Tagger(encoder=TINY, augment=Augment(shift_seconds=1.0))
    with pytest.raises(ValueError, match="augment.spec has no effect on Htsat"):
        Tagger(encoder=TINY, augment=Augment(spec=SpecAugment(time_width=5)))


# --- the picture -------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target"), [(61, 64), (1001, 1024), (7, 40), (1, 4), (64, 64)])
def test_stretching_keeps_constants_and_both_ends(source: int, target: int) -> None:
    matrix = bicubic_matrix(source, target)
    assert matrix.shape == (target, source)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-5)
    ramp = np.linspace(-1.0, 1.0, source) if source > 1 else np.zeros(1)
    np.testing.assert_allclose((matrix @ ramp)[[0, -1]], ramp[[0, -1]], atol=1e-3)
    if source == target:
        np.testing.assert_array_equal(matrix, np.eye(source))


def test_a_clip_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="65 frames does not fit into a picture of 64"):
        bicubic_matrix(65, 64)


def test_the_picture_stacks_the_chunks() -> None:
    whole = TINY.chunks * TINY.columns  # nothing to stretch
    features = jnp.asarray(RNG.standard_normal((1, whole, 8)), jnp.float32)
    (picture,) = HtsatEncoder(TINY).apply({}, features, method="picture")
    for chunk, row, column in ((0, 0, 0), (0, 7, 31), (1, 0, 0), (1, 5, 9)):
        expected = features[0, chunk * TINY.columns + column, row]
        assert picture[chunk * 8 + row, column] == expected


def test_the_head_reads_tokens_in_the_order_of_time() -> None:
    """A kernel that looks at the middle of three columns and at the lower bin only."""
    rows, columns = TINY.grids[-1]
    tokens = jnp.asarray(RNG.standard_normal((1, rows * columns, 2)), jnp.float32)
    kernel = np.zeros((2, 3, 2, 1), np.float32)
    kernel[1, 1, 0, 0] = 1.0
    params = {"conv": {"kernel": kernel, "bias": np.zeros(1, np.float32)}}
    frames = HtsatHead(TINY, 1).apply({"params": params}, tokens)[0, :, 0]
    grid = tokens.reshape(rows, columns, 2)[..., 0]
    np.testing.assert_allclose(frames, np.concatenate([grid[1], grid[3]]), atol=1e-6)


def test_the_products_of_the_frontend_are_of_highest_precision() -> None:
    def picture(audio: jax.Array) -> jax.Array:
        features = log_mel(TINY.frontend, audio)
        return HtsatEncoder(TINY).apply({}, features, method="picture")

    found = products(jax.jit(picture).lower(AUDIO))
    assert len(found) == 6 and all(product.highest for product in found)


# --- rows ---------------------------------------------------------------------------------------


def test_a_row_alone_is_what_it_is_among_others() -> None:
    together = listener()(AUDIO, LENGTHS, VALID)
    for row in range(ROWS):
        one = slice(row, row + 1)
        alone = listener()(AUDIO[one], LENGTHS[one], VALID[one])
        np.testing.assert_allclose(alone.embedding[0], together.embedding[row], atol=1e-5)
        np.testing.assert_allclose(alone.logits[0], together.logits[row], atol=1e-5)


def test_no_row_travels() -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    by_row = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())
    listen = jax.jit(
        partial(model().apply, method="listen"),
        in_shardings=(whole, by_row, by_row, by_row),
        out_shardings=by_row,
    )
    rows = jax.ShapeDtypeStruct((8, SAMPLES), jnp.float32), jnp.zeros(8, int), jnp.ones(8, bool)
    assert not collectives(listen.lower(variables(), *rows).compile().as_text())


def test_rows_that_are_padding_change_nothing_in_training() -> None:
    key = jax.random.key(3)
    loud = AUDIO.at[2].multiply(1e3)
    valid = jnp.array([True, True, False])
    heard, statistics = trainer()(AUDIO, LENGTHS, valid, key)
    other, same = trainer()(loud, LENGTHS, valid, key)
    np.testing.assert_array_equal(other.logits[:2], heard.logits[:2])
    jax.tree.map(np.testing.assert_array_equal, same, statistics)
    _, counted = trainer()(loud, LENGTHS, VALID, key)
    mean = lambda tree: tree["batch_stats"]["encoder"]["norm_0"]["mean"]  # noqa: E731
    assert np.abs(mean(counted) - mean(statistics)).max() > 0.1


def test_what_follows_a_clip_is_no_part_of_the_statistics() -> None:
    key = jax.random.key(3)
    short = LENGTHS.at[0].set(SAMPLES // 2)
    noisy = AUDIO.at[0, SAMPLES // 2 + 200 :].multiply(1e3)  # out of the last frame's window
    _, statistics = trainer()(AUDIO, short, VALID, key)
    _, same = trainer()(noisy, short, VALID, key)
    jax.tree.map(np.testing.assert_array_equal, same, statistics)


def test_the_running_mean_moves_by_a_tenth() -> None:
    _, updated = trainer()(AUDIO, LENGTHS, VALID, jax.random.key(0))
    mean = np.asarray(log_mel(TINY.frontend, AUDIO)).mean(axis=(0, 1))
    before = variables()["batch_stats"]["encoder"]["norm_0"]["mean"]
    after = updated["batch_stats"]["encoder"]["norm_0"]["mean"]
    np.testing.assert_allclose(after, 0.9 * before + 0.1 * mean, atol=1e-5)


# --- training -----------------------------------------------------------------------------------


def test_training_masks_by_the_key_and_evaluation_does_not() -> None:
    def logits(key: int) -> np.ndarray:
        return np.asarray(trainer()(AUDIO, LENGTHS, VALID, jax.random.key(key))[0].logits)

    np.testing.assert_array_equal(logits(1), logits(1))
    assert np.abs(logits(1) - logits(2)).max() > 1e-3


def test_without_a_key_training_draws_from_the_stream() -> None:
    def train(stream: int) -> Heard:
        rngs = {"augment": jax.random.key(stream)}
        given = AUDIO, LENGTHS, VALID, True
        return model().apply(
            variables(), *given, method="listen", rngs=rngs, mutable=["batch_stats"]
        )[0]

    assert np.abs(train(1).logits - train(2).logits).max() > 1e-3


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_a_shift_of_the_augmentation_moves_clips(seconds: float) -> None:
    """With a batch norm that is held and nothing masked, a shift is all that training adds."""
    config = replace(TINY, freeze_batch_norm=True, augment=SpecAugment(0, 0, 0, 0))
    shifting = model(config, augment=Augment(shift_seconds=seconds))

    @quick_jit
    def train(key: jax.Array) -> Heard:
        return shifting.apply(variables(), AUDIO, LENGTHS, VALID, True, key, method="listen")

    still = listener()(AUDIO, LENGTHS, VALID).logits
    moved = np.abs(train(jax.random.key(0)).logits - still).max()
    assert moved > 1e-3 if seconds else moved < 1e-5


def test_a_frozen_batch_norm_keeps_its_statistics() -> None:
    frozen = model(replace(TINY, freeze_batch_norm=True))
    given = AUDIO, LENGTHS, VALID, True, jax.random.key(0)
    _, updated = frozen.apply(variables(), *given, method="listen", mutable=["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables()["batch_stats"])


def test_every_parameter_has_a_gradient() -> None:
    @quick_jit
    @jax.grad
    def gradients(params: Any) -> jax.Array:
        given = {**variables(), "params": params}, AUDIO, LENGTHS, VALID, True, jax.random.key(0)
        heard, _ = model().apply(*given, method="listen", mutable=["batch_stats"])
        return (heard.logits**2).sum()

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients(variables()["params"])):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_logits_are_float32_under_bfloat16() -> None:
    half = partial(model(compute="bfloat16").apply, method="listen")
    heard = jax.eval_shape(half, variables(), AUDIO, LENGTHS, VALID)
    assert heard.logits.dtype == jnp.float32
    assert heard.embedding.dtype == jnp.bfloat16
