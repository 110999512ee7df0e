"""A growing cache: the same sentences, each step in the smallest room that fits."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adiff_jax.decode.beam import Beam
from adiff_jax.decode.generate import generate
from adiff_jax.decode.rooms import Rooms, in_turn
from adiff_jax.decode.sampling import Greedy, Sample
from adiff_jax.models.adc import AdcModel
from adiff_jax.models.adiff import AdiffModel
from tests.models import adiff_toys, toys


@flax.struct.dataclass
class Counting:
    step: Any
    cache: Any


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.int32)


def counted(steps: int) -> tuple[list[int], int]:
    """In which room each of so many steps was taken, and the steps taken."""
    rooms = Rooms((2, 3, 6), tuple({"a": shape(1, 2 * size)} for size in (2, 3, 6)))

    def advance(state: Counting) -> Counting:
        size = state.cache["a"].shape[1] // 2
        said = state.cache["a"].at[:, state.step].set(size)
        return Counting(state.step + 1, {"a": said})

    start = Counting(jnp.int32(0), {"a": jnp.zeros((4, 4), jnp.int32)})  # rows of a beam
    end = jax.jit(lambda s: rooms.loop(lambda state: state.step < steps, advance, s))(start)
    assert end.cache["a"].shape == (4, 12)
    return end.cache["a"][0].tolist()[:6], int(end.step)


def test_each_step_is_taken_in_the_smallest_room_that_holds_it() -> None:
    assert counted(99) == ([2, 2, 3, 6, 6, 6], 6)


def test_no_step_is_taken_once_all_is_said() -> None:
    assert counted(1) == ([2, 0, 0, 0, 0, 0], 1)
    assert counted(4) == ([2, 2, 3, 6, 0, 0], 4)


@pytest.mark.parametrize(
    "strategy",
    [
        Greedy(),
        pytest.param(Sample(top_k=5), marks=pytest.mark.slow),
        Beam(size=3, n_best=2),
    ],
)
@pytest.mark.parametrize("model", ["adc", pytest.param("adiff", marks=pytest.mark.slow)])
def test_sentences_do_not_depend_on_the_rooms(model: str, strategy: Any) -> None:
    if model == "adc":
        given = AdcModel(toys.ADC), toys.fresh(toys.ADC), toys.feature_batch()
    else:
        given = AdiffModel(adiff_toys.ADIFF), adiff_toys.fresh(), adiff_toys.embedding_batch()
    settings: dict[str, Any] = {"max_tokens": 7, "stop_ids": (1,), "key": jax.random.key(0)}
    whole = generate(*given, strategy, **settings)
    grown = generate(*given, strategy, rooms=(2, 4, 64), **settings)
    assert grown.steps > 4  # so that every room was used
    for name in ("tokens", "mask", "length", "finished", "steps"):
        np.testing.assert_array_equal(getattr(grown, name), getattr(whole, name))
    np.testing.assert_allclose(grown.logprob, whole.logprob, rtol=1e-5)


def test_rooms_come_in_order_and_end_with_the_longest_sentence() -> None:
    assert in_turn((), 9) == (9,)
    assert in_turn((64, 3, 9, 3), 9) == (3, 9)
    with pytest.raises(ValueError, match=r"rooms is \(0, 4\)"):
        in_turn((0, 4), 9)
