"""An experiment: the rooms' frozen dataclasses composed, loaded from a file.

A config file defines `get_config() -> Experiment`; it is loaded by path, and relative imports are
resolved beside it, so that an ablation can write `from ..adc_esc10 import get_config`.
"""

import hashlib
import importlib
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adiff_jax.arrays import Constrain, unconstrained
from adiff_jax.data.controls import Shuffled
from adiff_jax.data.embeddings import CachedEmbeddings
from adiff_jax.data.features import CachedPairs
from adiff_jax.data.pipeline import LoaderConfig
from adiff_jax.data.sources import SourceConfig, SynthPairs
from adiff_jax.data.synth.library import Procedural
from adiff_jax.data.tokenizers import TokenizerConfig, Words
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.matching import AnotherCaption, EditedCaption, EpochCaption
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.models.tagger import Tagger
from adiff_jax.objectives import Captioning, LanguageModelling, Tagging
from adiff_jax.parallel.mesh import MeshConfig
from adiff_jax.train.loop import TrainConfig
from adiff_jax.word_vectors import WordVectors


class ConfigError(ValueError):
    """A config file or stored experiment that cannot be used; says which field or file."""


_PACKAGES = "_config_"
"""How the packages are called that config files are loaded into."""

DataConfig = SourceConfig | CachedPairs | CachedEmbeddings | Shuffled
"""Whatever can be trained on or scored."""


Model = Adc | Adiff | Cl4ac | Tagger | LanguageModel
"""Whatever can be trained."""


def heard_of(config: DataConfig) -> DataConfig:
    """What the clips of a source come from: `config` itself, or what it shuffles."""
    return config.pairs if isinstance(config, Shuffled) else config


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
    model: Model = field(default_factory=Adc)
    label_smoothing: float = 0.05
    data: Data = field(default_factory=Data)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: Evaluation = Evaluation()
    mesh: MeshConfig = MeshConfig()
    start: tuple[StartFrom, ...] = ()
    word_vectors: WordVectors | None = None  # what the decoder's embedding starts from

    def __post_init__(self) -> None:
        if not isinstance(self.model, LanguageModel):
            rate = self.model.encoder.frontend.rate
            if rate != self.data.encode.rate:
                raise ConfigError(
                    f"{self.encoder_field}.frontend.rate ({rate} Hz) and data.encode.rate "
                    f"({self.data.encode.rate} Hz) differ: set both to one rate"
                )
        _check_conventions(self.model, self.data.encode)
        _check_matching(self.model, self.data.encode)
        sources = {"data.train": self.data.train, "data.validation": self.data.validation}
        sources |= {f"data.test, {split.name}": split.source for split in self.data.test}
        for name, source in sources.items():
            if (size := getattr(heard_of(source), "size", 1)) < 1:
                raise ConfigError(f"{name}.size is {size}: give at least 1 example")
            if isinstance(heard_of(source), CachedEmbeddings):
                _check_embeddings(name, self.model, self.data.encode)

    def objective(
        self, constrain: Constrain = unconstrained
    ) -> Captioning | Tagging | LanguageModelling:
        """The model with its losses; `constrain` places activations on a mesh."""
        match self.model:
            case Adc() | Adiff() | Cl4ac():
                return Captioning(self.model, self.label_smoothing, constrain)
            case Tagger():
                return Tagging(self.model)
            case LanguageModel():
                return LanguageModelling(self.model, constrain)

    @property
    def frozen_as_drawn(self) -> tuple[str, ...]:
        """Parts of the model that are frozen although no run in `start` gives their weights."""
        if not isinstance(self.model, Adiff):
            return ()
        given = {here for start in self.start for _, here in start.subtrees}
        frozen = {"clips": self.model.freeze_encoder, "lm": self.model.freeze_lm}
        return tuple(part for part, held in frozen.items() if held and not {"", part} & given)

    @property
    def encoder_field(self) -> str:
        """Where the settings of the audio encoder are."""
        return "model.clips.encoder" if isinstance(self.model, Adiff) else "model.encoder"

    def split(self, name: str) -> DataConfig:
        """The source to score under this name: a test split, or "validation"."""
        return self._named(name, {})

    def source(self, name: str) -> DataConfig:
        """The same, or the training data under "train"."""
        return self._named(name, {"train": self.data.train})

    def _named(self, name: str, more: Mapping[str, DataConfig]) -> DataConfig:
        named = {**more, "validation": self.data.validation}
        named |= {split.name: split.source for split in self.data.test}
        if name not in named:
            raise ConfigError(f"split {name!r} is not one of {', '.join(named)}")
        return named[name]


def _check_conventions(model: Model, encode: EncodeConfig) -> None:
    """Raise ConfigError when text and audio are prepared in another way than the model's."""
    match model:
        case Adiff(lm=lm, prefix_length=before) | LanguageModel(lm=lm, context=before):
            if encode.max_tokens > lm.positions - before:
                raise ConfigError(
                    f"data.encode.max_tokens is {encode.max_tokens}, but after the {before} "
                    f"vectors before a text model.lm.positions leaves {lm.positions - before}"
                )
    if not isinstance(model, Adiff):
        return
    if model.compat != encode.compat:
        raise ConfigError(
            f"model.compat is {model.compat!r}, data.encode.compat {encode.compat!r}: weights "
            "trained with one way to crop clips, pad prompts and end texts mean nothing in "
            "another; set both to the same"
        )
    if encode.prompt_tokens < 1:
        raise ConfigError("data.encode.prompt_tokens is 0, but ADIFF reads a prompt: set it to 40")


def _check_matching(model: Model, encode: EncodeConfig) -> None:
    """Raise ConfigError for negatives that need not fit into the bucket of their row."""
    if isinstance(model, Tagger | LanguageModel) or model.matching is None:
        return
    negative = model.matching.negative
    if encode.buckets and isinstance(negative, AnotherCaption | EditedCaption | EpochCaption):
        raise ConfigError(
            f"model.matching.negative is {type(negative).__name__}, whose sentences may be longer "
            "than the bucket of their row: leave out data.encode.buckets, or take InBatch or "
            "SwappedOrder"
        )


def _check_embeddings(name: str, model: Model, encode: EncodeConfig) -> None:
    """Raise ConfigError unless the model can read cached embeddings of clips, or no clips."""
    if isinstance(model, LanguageModel):
        return
    if encode.compat:
        raise ConfigError(
            f"{name} is CachedEmbeddings, but data.encode.compat is {encode.compat!r}, under which "
            "every step hears a fresh crop: train on audio, or leave compat out"
        )
    if not isinstance(model, Adiff):
        raise ConfigError(
            f"{name} is CachedEmbeddings, which ADIFF reads and {type(model).__name__} does not"
        )
    if not model.freeze_encoder:
        raise ConfigError(
            f"{name} is CachedEmbeddings, but model.freeze_encoder is False: an encoder that "
            "learns gives other embeddings at every step; freeze it, or train on audio"
        )


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
