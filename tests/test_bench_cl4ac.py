"""The bench of captions: ours and torch's have one size, take turns, and do what is timed."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from adiff_jax import bench_cl4ac
from adiff_jax.audio.frontends import LogMel
from adiff_jax.models.byola import StridedByolA
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.text_decoder import TextDecoder
from adiff_jax.objectives import Captioning
from adiff_jax.torch_layers import torch_cl4ac, torch_module
from tests.quick import options

TINY = Cl4ac(
    encoder=Cnn10(filters=(4, 4, 4, 4), frontend=LogMel(mels=16)),
    bridge=8,
    decoder=TextDecoder(layers=2, width=8, heads=2, hidden=16),
    vocab_size=23,
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Everything small, each call made once, and compiled without optimising."""
    sizes = {"MODEL": TINY, "CLIPS": 3, "TRAINED": 2, "SECONDS": 1, "WORDS": 4}
    for name, value in sizes.items():
        monkeypatch.setattr(bench_cl4ac, name, value)
    monkeypatch.setattr(bench_cl4ac, "torch_module", lambda threads: torch_module(1))
    made: list[Any] = []

    def once(calls: list[Any], warm_up: int = 0) -> list[list[float]]:
        made.extend(jax.block_until_ready(call()) for call in calls)
        return [[1.0 + number] * 2 for number in range(len(calls))]

    monkeypatch.setattr(bench_cl4ac, "take_turns", once)
    with options(jax_disable_most_optimizations=True):
        yield made


def engines(rows: Any) -> list[tuple[str, str, int]]:
    return [(row.subject, row.engine, row.items) for row in rows]


def test_ours_and_torchs_caption_in_turns(tiny: list[Any]) -> None:
    assert engines(bench_cl4ac._captioning()) == [
        ("captioning", engine, 3) for engine in ("jax", "jax", "torch", "torch")
    ]
    memory, said, their_memory, their_words = tiny
    assert memory.memory.shape == tuple(their_memory.shape)
    assert said.tokens[:, 0].shape == tuple(their_words.shape) == (3, 4)


@pytest.mark.slow
def test_ours_and_torchs_train_in_turns(tiny: list[Any]) -> None:
    assert engines(bench_cl4ac._train_step()) == [
        ("train step", engine, 2) for engine in ("jax", "torch")
    ]
    assert float(tiny[0]["loss/matching"]) > 0


def test_without_torch_ours_is_timed_alone(
    tiny: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_cl4ac, "torch_module", lambda threads: None)
    monkeypatch.setattr(bench_cl4ac, "_our_step", lambda: lambda: 0)  # has a test of its own
    assert {row.engine for row in bench_cl4ac.rows()} == {"jax"}


def test_torchs_model_has_as_many_parameters() -> None:
    """At the published size, which is the one timed; its embedding and output among them."""
    model = bench_cl4ac.MODEL
    twin = torch_cl4ac(torch_module(1), model)
    theirs = sum(parameter.numel() for parameter in twin.parameters())
    batch = jax.eval_shape(partial(bench_cl4ac._batch, 1))
    ours = jax.eval_shape(Captioning(model).init, jax.random.key(0), batch)["params"]
    assert theirs == sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(ours)) == 7_457_881


def test_other_encoders_have_no_twin() -> None:
    with pytest.raises(TypeError, match="has no StridedByolA in torch"):
        torch_cl4ac(torch_module(1), replace(TINY, encoder=StridedByolA()))
