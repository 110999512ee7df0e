"""An experiment as JSON: every field, with the class of each variant under "type".

It reads back to an equal experiment; a field that is not known is an error that names it.
"""

import dataclasses
import difflib
import functools
import json
import operator
import types
import typing
from typing import Any

import cattrs
from cattrs.errors import (
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.strategies import configure_tagged_union

from adiff_jax.experiment import ConfigError, DataConfig, Experiment


def to_json(experiment: Experiment) -> str:
    """Every field, as JSON text."""
    return json.dumps(_converter().unstructure(experiment, Experiment), indent=2)


def source_json(config: DataConfig) -> str:
    """A source's configuration as JSON text."""
    return json.dumps(_converter().unstructure(config, DataConfig))


def source_from_json(text: str) -> DataConfig:
    """The configuration of `source_json`. Raises ConfigError as `from_json`."""
    try:
        return _converter().structure(json.loads(text), DataConfig)  # type: ignore[arg-type]
    except BaseValidationError as error:
        raise ConfigError("; ".join(_explain(error, "source"))) from error


def from_json(text: str) -> Experiment:
    """The experiment of `to_json`. Raises ConfigError that names an unknown or wrong field."""
    stored = json.loads(text)
    if not isinstance(stored, dict):
        raise ConfigError(f"experiment: a JSON object is expected, not {type(stored).__name__}")
    try:
        return _converter().structure(stored, Experiment)
    except BaseValidationError as error:
        raise ConfigError("; ".join(_explain(error, "experiment"))) from error


@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for union in _unions(Experiment, set()):
        _tag(union, converter)
    return converter


def _tag(union: Any, converter: cattrs.Converter) -> None:
    """Store members of a union of dataclasses with the name of their class, and None as null."""
    given = typing.get_args(union)
    kinds: Any = functools.reduce(operator.or_, (one for one in given if one is not types.NoneType))
    configure_tagged_union(kinds, converter, tag_name="type")
    if kinds != union:
        converter.register_structure_hook_func(
            lambda kind: kind == union,
            lambda value, _: None if value is None else converter.structure(value, kinds),
        )
        converter.register_unstructure_hook_func(
            lambda kind: kind == union,
            lambda value: None if value is None else converter.unstructure(value, kinds),
        )


def _unions(kind: Any, seen: set[Any]) -> list[Any]:
    """Every union of dataclasses reachable from the fields of `kind`, innermost first."""
    if kind in seen:
        return []
    seen.add(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        parts = [hints[f.name] for f in dataclasses.fields(kind)]
        return [union for part in parts for union in _unions(part, seen)]
    members = typing.get_args(kind)
    found = [union for member in members for union in _unions(member, seen)]
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    classes = [member for member in members if member is not types.NoneType]
    if is_union and len(classes) > 1 and all(map(dataclasses.is_dataclass, classes)):
        found.append(kind)
    return found


def _explain(error: BaseException, where: str) -> list[str]:
    """One line a fault, with the path of the field."""
    if isinstance(error, ForbiddenExtraKeysError):
        known = [f.name for f in dataclasses.fields(error.cl)]
        lines = []
        for name in sorted(error.extra_fields):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            lines.append(f"{where} has no field {name!r}{hint}")
        return lines
    if isinstance(error, ClassValidationError):
        lines = []
        for inner, note in error.group_exceptions()[0]:
            lines += _explain(inner, f"{where}.{note.name}")
        for inner in error.group_exceptions()[1]:
            lines += _explain(inner, where)
        return lines
    if isinstance(error, IterableValidationError):
        placed, others = error.group_exceptions()
        faults = [(inner, f"{where}[{note.index}]") for inner, note in placed]
        faults += [(inner, where) for inner in others]
        return [line for inner, place in faults for line in _explain(inner, place)]
    if isinstance(error, KeyError):  # a field that is absent, or the class of a union
        name = error.args[0]
        if where.endswith(f".{name}"):
            return [f"{where} is missing"]
        return [f'{where} has no "type"' if name == "type" else f"{where} has no type {name!r}"]
    return [f"{where}: {error}"]
