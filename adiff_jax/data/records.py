"""Examples and truths as JSON rows without audio: what caches remember of a source.

Every field is kept but those that hold sound. A field that is added one day is kept by itself, or
refused where JSON does not give it back as it was; none is dropped in silence.
"""

import functools
import json
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import cattrs

from adiff_jax.data.schema import Example, Truth

SOUND = ("waves", "rate", "features", "embeddings")
"""Fields of `Example` that are not kept."""

_KEPT: Mapping[type, Mapping[str, Any]] = {
    kind: {name: hint for name, hint in typing.get_type_hints(kind).items() if name not in SOUND}
    for kind in (Example, Truth)
}

_Kind = TypeVar("_Kind", Example, Truth)


def to_row(item: Example | Truth) -> dict[str, Any]:
    """The fields as JSON holds them. ValueError names the one that it cannot hold."""
    row: dict[str, Any] = {}
    for name, kind in _KEPT[type(item)].items():
        value = getattr(item, name)
        try:
            row[name] = json.loads(json.dumps(_converter().unstructure(value, kind)))
            same = _converter().structure(row[name], kind) == value
        except Exception as error:
            raise ValueError(f"{_field(item, name)}: {error}") from error
        if not same:
            raise ValueError(f"{_field(item, name)}: {value!r} comes back as {row[name]!r}")
    return row


def from_row(kind: type[_Kind], row: Mapping[str, Any]) -> _Kind:
    """The inverse of `to_row`, without sound. ValueError for a row of other fields."""
    kept = _KEPT[kind]
    if differing := sorted(kept.keys() ^ row.keys()):
        raise ValueError(
            f"stored by another version of this program, whose {kind.__name__} differs in "
            f"{', '.join(differing)}: remove the cache and write it again"
        )
    found = {name: _converter().structure(row[name], type_) for name, type_ in kept.items()}
    return kind(**(found | ({"waves": (), "rate": 0} if kind is Example else {})))


def _field(item: Example | Truth, name: str) -> str:
    return f"{item.id}: {type(item).__name__}.{name} cannot be kept as JSON"


@functools.cache
def _converter() -> cattrs.Converter:
    return cattrs.Converter(forbid_extra_keys=True)
