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
    program_id    for pairs of the same edits, where these are known
    source_id     for examples of the same clips, where these have names
    question_id   for examples that are asked the same

    The first three are else the example's own.
    """
    own = f"id:{example.id}"
    program = "" if example.edits is None else f"program:{sorted(map(_told, example.edits))}"
    clips = f"clips:{[clip.name for clip in example.clips]}" if example.clips else ""
    return {
        "scene_id": _number(f"scene:{example.scene}" if example.scene else own),
        "program_id": _number(program or own),
        "source_id": _number(clips or own),
        "question_id": _number(f"prompt:{example.prompt}"),
    }


def _told(edit: Edit) -> tuple[str, str, str]:
    return edit.operation, edit.event, edit.replacement


def _number(text: str) -> np.int32:
    return np.int32(zlib.crc32(text.encode()) & 0x7FFFFFFF)
