"""Does a model look where the edit is? Attention on the edited span, for pairs made of scenes.

For every pair whose edit adds, removes, replaces or changes the level of an event, the clip that
holds the event is looked at through the eyes of the other clip: of all attention that its frames
receive from the other clip in the last comparison layer, which share falls on the event's own
frames? The ratio to the share of frames is 1 for attention that does not care, and comparable
between masked and unmasked models.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from adiff_jax.arrays import Batch
from adiff_jax.data.schema import Arrays, Edit
from adiff_jax.data.synth.edits import PairScenes
from adiff_jax.data.synth.made import EditedPairs
from adiff_jax.data.synth.render import heard_seconds
from adiff_jax.data.synth.scenes import Event, Scene
from adiff_jax.evaluate.gather import gather_objects
from adiff_jax.models.adc import Adc, AdcModel
from adiff_jax.parallel.mesh import local_rows
from adiff_jax.parts import Parts
from adiff_jax.protocol import Variables


def attention_on_edits(
    parts: Parts,
    variables: Variables,
    rows: Iterable[Arrays],
    pairs: EditedPairs,
) -> float | None:
    """Mean ratio (see the module docstring) over the edited events of all processes, if any.

    `rows` are loader batches of this process, `pairs` what they were rendered from. None too when
    the scenes do not fill the model's window, which crops or pads them. A collective: every
    process must call it.
    """
    if pairs.recipe.duration != parts.experiment.data.encode.seconds:
        return None
    model = parts.experiment.model
    assert isinstance(model, Adc)  # what else has an attention over frames
    encoder = model.encoder
    frame_seconds = encoder.frontend.frame_seconds * encoder.stride
    heard = partial(heard_seconds, library=pairs.library)
    found = []
    for arrays in rows:
        attended = last_attention(parts.objective.module, variables, parts.to_batch(arrays))
        weights = local_rows(attended, parts.mesh)
        for place in np.flatnonzero(arrays["valid"]):
            example = int(arrays["example_id"][place])
            pair = pairs.scenes(example)
            frames = weights.shape[1] // 2
            for clip, start, end in edited_spans(pair, heard):
                span = slice(int(start / frame_seconds), int(np.ceil(end / frame_seconds)))
                if span.start < frames:  # the last frame can end before the scene does
                    ratio = span_ratio(weights[place], clip, span, frames)
                    found.append({"id": example, "ratio": ratio})
    ratios = [row["ratio"] for row in sorted(gather_objects(found), key=lambda row: row["id"])]
    return float(np.mean(ratios)) if ratios else None


@partial(jax.jit, static_argnames="module")
def last_attention(module: AdcModel, variables: Variables, batch: Batch) -> jax.Array:
    """Weights of the last comparison layer, mean over heads: [b s s], queries then keys, both over
    [clip 1; clip 2]."""
    _, state = module.apply(variables, batch, method="encode", mutable=["intermediates"])
    layers: Any = state["intermediates"]["comparison"]
    return layers[f"blocks_{len(layers) - 1}"]["attention"]["weights"][0].mean(axis=1)


def span_ratio(weights: np.ndarray, clip: int, span: slice, frames: int) -> float:
    """Share of the attention from the other clip to `clip` (0 or 1) that falls on `span`, over
    the span's share of the frames. `weights` [s s] holds queries, then keys; s = 2 `frames`."""
    queries = slice(frames, None) if clip == 0 else slice(0, frames)
    received = weights[queries, clip * frames : (clip + 1) * frames].sum(axis=0)
    inside = received[span]
    return float((inside.sum() / received.sum()) / (len(inside) / frames))


def edited_spans(
    pair: PairScenes, heard: Callable[[Event], float]
) -> Iterator[tuple[int, float, float]]:
    """(clip, start, end in seconds) of every event that the program of a pair acts upon.

    `heard(event)` is how long it sounds, which is less than was drawn for a short recording.
    """
    for edit in pair.edits:
        for clip, scene, label in _places(pair, edit):
            for event in scene.events:
                if event.label == label:
                    yield clip, event.onset, min(scene.duration, event.onset + heard(event))


def _places(pair: PairScenes, edit: Edit) -> list[tuple[int, Scene, str]]:
    match edit.operation:
        case "add":
            return [(1, pair.second, edit.event)]
        case "remove":
            return [(0, pair.first, edit.event)]
        case "replace":
            return [(0, pair.first, edit.event), (1, pair.second, edit.replacement)]
        case "louder" | "quieter" | "earlier" | "later":
            return [(0, pair.first, edit.event), (1, pair.second, edit.event)]
        case _:
            return []
