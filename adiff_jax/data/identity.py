"""What makes two examples the same in some respect, as numbers that a batch can compare.

31 bits of a CRC each: two of 64 in a batch collide about once in a million batches, and then one
negative is left out.
"""

import zlib

import numpy as np

from adiff_jax.data.schema import Edit, Example

Ids = dict[str, np.int32]


def identity(example: Example) -> Ids:
    """The ids of an example by the names that a row has them under.

    scene_id      equal for examples of equal, non-empty `scene`
    content_id    for pairs of the same edits; where these are unknown, as scene_id
    source_id     for examples of the same clips, by their names or else their recordings
    text_id       for examples with the same references
    question_id   for examples that are asked the same

    What is not known of an example is its own.
    """
    own = f"id:{example.id}"
    scene = f"scene:{example.scene}" if example.scene else own
    clips = [clip.name for clip in example.clips] or sorted(example.recordings)
    known = example.edits is not None
    return {
        "scene_id": _number(scene),
        "content_id": _number(
            f"edits:{sorted(map(_told, example.edits or ()))}" if known else scene
        ),
        "source_id": _number(f"clips:{clips}" if clips else own),
        "text_id": _number(f"texts:{sorted(example.captions)}" if example.captions else own),
        "question_id": _number(f"prompt:{example.prompt}"),
    }


def _told(edit: Edit) -> tuple[str, str, str]:
    return edit.operation, edit.event, edit.replacement


def _number(text: str) -> np.int32:
    return np.int32(zlib.crc32(text.encode()) & 0x7FFFFFFF)
