"""An experiment: the rooms' frozen dataclasses composed, loaded from a file, kept as JSON.

A config file defines `get_config() -> Experiment`; it is loaded by path, and relative imports are
resolved beside it, so that an ablation can write `from ..adc_esc10 import get_config`. The JSON
form holds every field, with the class of each variant under "type", and reads back to an equal
experiment; a field that is not known is an error that names it.
"""

import dataclasses
import difflib
import functools
import hashlib
import importlib
import json
import sys
import traceback
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cattrs
from cattrs.errors import (
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.strategies import configure_tagged_union

from adiff_jax.arrays import Constrain, unconstrained
from adiff_jax.data.features import CachedPairs
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.sources import SourceConfig, SynthPairs
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.tokenizers import TokenizerConfig, Words
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.models.adc import Adc
from adiff_jax.models.tagger import Tagger
from adiff_jax.objectives import Captioning, Tagging
from adiff_jax.parallel.mesh import MeshConfig
from adiff_jax.train.loop import TrainConfig


class ConfigError(ValueError):
    """A config file or stored experiment that cannot be used; says which field or file."""


_PACKAGES = "_config_"
"""How the packages are called that config files are loaded into."""

DataConfig = SourceConfig | CachedPairs
"""Whatever can be trained on or scored."""


@dataclass(frozen=True)
class Split:
    """A named source to score."""

    name: str
    source: DataConfig


def _validation() -> SynthPairs:
    """Pairs of recordings that the default training pairs do not hold."""
    return SynthPairs(Procedural(seed=1), split="validation", size=256)


@dataclass(frozen=True)
class Data:
    """What is trained on, selected on and scored."""

    train: DataConfig = field(default_factory=SynthPairs)
    validation: DataConfig = field(default_factory=_validation)
    test: tuple[Split, ...] = ()
    encode: EncodeConfig = EncodeConfig()
    loader: LoaderConfig = LoaderConfig()
    tokenizer: TokenizerConfig = Words()


@dataclass(frozen=True)
class Evaluation:
    """How sentences are generated and scored."""

    batch: int = 32  # examples decoded at once, over all processes
    decode: str = "greedy"  # or "beam:4", "sample:0.8"; see decode.generate.parse_strategy
    seed: int = 0  # of sampled decoding


@dataclass(frozen=True)
class StartFrom:
    """Pretrained parameters: subtrees of another run's best checkpoint laid over fresh ones.

    Each pair is (path there, path here). `grow_channels` appends zero input channels to a
    convolution kernel that has fewer of them there than here, and is needed for nothing else.
    """

    run: str = ""
    subtrees: tuple[tuple[str, str], ...] = (("encoder", "encoder"),)
    grow_channels: bool = False


@dataclass(frozen=True)
class Experiment:
    """Everything a run depends on; stored in its directory as `experiment.json`."""

    name: str = "adc"
    model: Adc | Tagger = field(default_factory=Adc)
    label_smoothing: float = 0.05
    data: Data = field(default_factory=Data)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: Evaluation = Evaluation()
    mesh: MeshConfig = MeshConfig()
    start: tuple[StartFrom, ...] = ()

    def __post_init__(self) -> None:
        if self.model.encoder.frontend.rate != self.data.encode.rate:
            raise ConfigError(
                f"model.encoder.frontend.rate ({self.model.encoder.frontend.rate} Hz) and "
                f"data.encode.rate ({self.data.encode.rate} Hz) differ: set both to one rate"
            )
        sources = {"data.train": self.data.train, "data.validation": self.data.validation}
        sources |= {f"data.test, {split.name}": split.source for split in self.data.test}
        for name, source in sources.items():
            if (size := getattr(source, "size", 1)) < 1:
                raise ConfigError(f"{name}.size is {size}: give at least 1 example")

    def objective(self, constrain: Constrain = unconstrained) -> Captioning | Tagging:
        """The model with its losses; `constrain` places activations on a mesh."""
        match self.model:
            case Adc():
                return Captioning(self.model, self.label_smoothing, constrain)
            case Tagger():
                return Tagging(self.model)

    def split(self, name: str) -> DataConfig:
        """The source to score under this name: a test split, or "validation"."""
        named = {"validation": self.data.validation}
        named |= {split.name: split.source for split in self.data.test}
        if name not in named:
            raise ConfigError(f"split {name!r} is not one of {', '.join(named)}")
        return named[name]


# --- files ------------------------------------------------------------------------------------


def load_experiment(path: str | Path) -> Experiment:
    """The `get_config()` of a config file. Raises ConfigError that names what is wrong with it."""
    experiment = call_config(path, "get_config")
    if not isinstance(experiment, Experiment):
        raise ConfigError(f"get_config() of {path} returned {type(experiment).__name__}")
    return experiment


def call_config(path: str | Path, name: str) -> Any:
    """What the function `name` of a Python file returns.

    Raises ConfigError when there is none, and for whatever goes wrong in the file, with the line.
    """
    try:
        return _load_attribute(path, name)()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{_place(error, path)}: {type(error).__name__}: {error}") from error


def _place(error: Exception, path: str | Path) -> str:
    """File and line of the innermost statement of a config, or of one it builds on, that failed."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    place = str(path)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").startswith(_PACKAGES):
            place = f"{frame.f_code.co_filename}, line {line}"
    return place


def _load_attribute(path: str | Path, name: str) -> Callable[[], Any]:
    """The function `name` of a Python file. Raises ConfigError when there is none."""
    path = Path(path).expanduser().resolve()
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"config file {path} does not exist, or is not Python (.py)")
    # Two packages made of the file's directory and its parent, so that `.` and `..` mean them.
    outer = f"{_PACKAGES}{hashlib.sha256(str(path.parent.parent).encode()).hexdigest()[:12]}"
    inner = f"{outer}.{path.parent.name}"
    for package, directory in ((outer, path.parent.parent), (inner, path.parent)):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(directory)]
    try:
        module = importlib.import_module(f"{inner}.{path.stem}")
    except ImportError as error:
        raise ConfigError(
            f"{path} cannot be imported: {error}; relative imports are looked up in its own "
            "folders, so keep the files that it builds on beside it"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise ConfigError(f"{path} defines no {name}()")
    return found


# --- JSON -------------------------------------------------------------------------------------


def to_json(experiment: Experiment) -> str:
    """Every field, as JSON text."""
    return json.dumps(_converter().unstructure(experiment, Experiment), indent=2)


def source_json(config: DataConfig) -> str:
    """A source's configuration as JSON text."""
    return json.dumps(_converter().unstructure(config, DataConfig))


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
        configure_tagged_union(union, converter, tag_name="type")
    return converter


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
    if is_union and all(dataclasses.is_dataclass(member) for member in members):
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
