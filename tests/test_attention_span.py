"""Attention on the edited span: the ratio, and which spans a program edits."""

from dataclasses import replace

import numpy as np
import pytest

from adiff_jax.attention_span import attention_on_edits, edited_spans, span_ratio
from adiff_jax.data.schema import Edit
from adiff_jax.data.sources import open_source
from adiff_jax.data.synth.edits import PairScenes
from adiff_jax.data.synth.scenes import Event, Scene
from adiff_jax.parallel.mesh import make_mesh
from adiff_jax.parts import Parts
from tests.top import tiny_run


def scene(*events: Event) -> Scene:
    return Scene(10.0, -35.0, (), tuple(events))


def event(label: str, onset: float) -> Event:
    return Event(label, f"{label}.wav", onset, 3.0, 6.0, 0.0)


def drawn(event: Event) -> float:
    return event.duration


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_scenes_that_the_window_crops_or_pads_are_not_measured(seconds: float) -> None:
    experiment = tiny_run.adc("unused")
    encode = replace(experiment.data.encode, seconds=seconds)
    experiment = replace(experiment, data=replace(experiment.data, encode=encode))
    pairs = open_source(tiny_run.pairs("test", 1))
    parts = Parts(experiment, make_mesh(experiment.mesh), None)
    unread = ({}[name] for name in ("rows",))  # an error as soon as one is asked for
    assert attention_on_edits(parts, {}, unread, pairs) is None


def test_uniform_attention_has_ratio_one_under_either_mask() -> None:
    full = np.full((8, 8), 1 / 8)
    crossed = np.kron(1 - np.eye(2), np.full((4, 4), 1 / 4))
    for weights in (full, crossed):
        for clip in (0, 1):
            assert span_ratio(weights, clip, slice(1, 3), 4) == pytest.approx(1.0)


def test_only_attention_from_the_other_clip_counts() -> None:
    weights = np.zeros((8, 8))
    weights[4:, 1] = 1.0  # the second clip looks at frame 1 of the first
    weights[:4, 3] = 5.0  # the first at its own frame 3
    assert span_ratio(weights, 0, slice(1, 2), 4) == pytest.approx(4.0)
    assert span_ratio(weights, 0, slice(3, 4), 4) == 0.0


def test_the_spans_of_a_replacement_are_one_in_each_clip() -> None:
    pair = PairScenes(
        scene(event("dog_bark", 1.0), event("rooster", 5.0)),
        scene(event("baby_cry", 2.0), event("rooster", 5.0)),
        (Edit("replace", "dog_bark", "baby_cry"),),
    )
    assert list(edited_spans(pair, drawn)) == [(0, 1.0, 4.0), (1, 2.0, 5.0)]


def test_a_span_ends_where_its_sound_or_the_clip_does() -> None:
    second = scene(event("dog_bark", 1.0), event("dog_bark", 8.0))
    pair = PairScenes(scene(), second, (Edit("add", "dog_bark"),))
    assert list(edited_spans(pair, lambda event: 0.5)) == [(1, 1.0, 1.5), (1, 8.0, 8.5)]
    assert list(edited_spans(pair, drawn)) == [(1, 1.0, 4.0), (1, 8.0, 10.0)]


@pytest.mark.parametrize(
    ("operation", "clips"),
    [("add", [1]), ("remove", [0]), ("louder", [0, 1]), ("background_louder", []), ("none", [])],
)
def test_the_clips_that_an_operation_is_looked_for_in(operation: str, clips: list[int]) -> None:
    both = scene(event("dog_bark", 1.0))
    label = "" if operation == "none" else "dog_bark"
    pair = PairScenes(both, both, (Edit(operation, label),))
    assert [clip for clip, _, _ in edited_spans(pair, drawn)] == clips
