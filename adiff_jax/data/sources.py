"""Sources of examples that are made when asked for, and `open_source`, which opens any of them.

An example is a function of (seed, split, index): nothing but the configuration needs storing, and
every process makes the same one. References and edits come from the scenes, without audio.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from etils import epath

from adiff_jax.data.builders.table_source import Table, TableSource
from adiff_jax.data.explanations import ExplanationRows, MadeTiers, StoredTiers, Tiered
from adiff_jax.data.joined import Joined, JoinedSource
from adiff_jax.data.labelled import LabelledClips, LabelledClipSource
from adiff_jax.data.schema import Source
from adiff_jax.data.synth.captioned import CaptionedScenes
from adiff_jax.data.synth.fixed_sets import FixedSet, read_fixed_set, write_fixed_set
from adiff_jax.data.synth.library import Folder, Procedural, open_library
from adiff_jax.data.synth.made import EditedPairs, RawPairs
from adiff_jax.data.synth.mixes import Mixes
from adiff_jax.data.synth.recipe import Recipe
from adiff_jax.data.synth.scenes import description_hash

Recordings = Procedural | Folder


@dataclass(frozen=True)
class SynthPairs:
    """Pairs synthesised from labelled recordings. `tier` 0 captions in short imperatives, 1 to 3
    in explanations of that tier."""

    recordings: Recordings = field(default_factory=Procedural)
    recipe: Recipe = field(default_factory=Recipe)
    split: str = "train"
    size: int = 10_000
    seed: int = 0
    rate: int = 16_000
    templates: Literal["train", "test"] = "train"
    tier: int = 0


@dataclass(frozen=True)
class NaturalPairs:
    """Pairs of two recordings as they are, no mixing, in turn of one class and of two.

    The truth is what the labels say: two recordings of one class are "none", of two classes a
    replacement of the one by the other.
    """

    recordings: Recordings = field(default_factory=Folder)
    split: str = "natural"
    size: int = 1200
    seed: int = 0
    rate: int = 16_000
    templates: Literal["train", "test"] = "test"


@dataclass(frozen=True)
class RecipeFile:
    """A fixed test set, read from a recipe file. `folder` holds the recordings it was drawn from;
    other recordings give other scenes, which is an error."""

    path: str
    folder: str = "esc10"
    rate: int = 16_000


@dataclass(frozen=True)
class LabelledMixes:
    """Single clips labelled with every class heard, backgrounds included, to train a tagger."""

    recordings: Recordings = field(default_factory=Procedural)
    recipe: Recipe = field(default_factory=lambda: Recipe(event_counts=(0.1, 0.35, 0.35, 0.2)))
    split: str = "train"
    size: int = 30_000
    seed: int = 0
    rate: int = 16_000


@dataclass(frozen=True)
class CaptionedMixes:
    """Single clips with captions of our own grammar, to train a captioner on."""

    recordings: Recordings = field(default_factory=Procedural)
    recipe: Recipe = field(default_factory=lambda: Recipe(event_counts=(0.1, 0.35, 0.35, 0.2)))
    split: str = "train"
    size: int = 10_000
    seed: int = 0
    rate: int = 16_000
    templates: Literal["train", "test"] = "train"


@dataclass(frozen=True)
class Explanations:
    """Pairs explained in each of `tiers`, 1 to 3, for systems that are asked something.

    `pairs` holds the explanations (tables) or the scenes to write them from. `captioning` is the
    share of rows that ask for a caption of the first clip, the second, or both instead.
    """

    pairs: Table | Joined | SynthPairs | RecipeFile = field(default_factory=SynthPairs)
    tiers: tuple[int, ...] = (1, 2, 3)
    captioning: float = 0.0

    def __post_init__(self) -> None:
        if not self.tiers or not {*self.tiers} <= {1, 2, 3} or len({*self.tiers}) < len(self.tiers):
            raise ValueError(f"Explanations.tiers is {self.tiers}; say one or more of 1, 2 and 3")
        if not 0 <= self.captioning < 1:
            raise ValueError(
                f"Explanations.captioning is {self.captioning}; it is a share of the rows, at "
                "least 0 and less than 1"
            )
        if getattr(self.pairs, "tier", 0):
            raise ValueError("Explanations.tiers says which tiers: leave SynthPairs.tier at 0")


SourceConfig = (
    SynthPairs
    | NaturalPairs
    | RecipeFile
    | LabelledMixes
    | CaptionedMixes
    | LabelledClips
    | Table
    | Joined
    | Explanations
)


def open_source(config: SourceConfig) -> Source:
    """The source that `config` describes; ValueError names the field or folder that is wrong."""
    match config:
        case SynthPairs():
            return _edited(config, config.split)
        case NaturalPairs():
            return _natural(config)
        case LabelledMixes():
            library = open_library(config.recordings, config.rate)
            return Mixes(library, config.recipe, config.split, config.size, config.seed)
        case CaptionedMixes():
            library = open_library(config.recordings, config.rate)
            given = config.recipe, config.split, config.size, config.seed, config.templates
            return CaptionedScenes(library, *given)
        case LabelledClips():
            return LabelledClipSource(config)
        case RecipeFile():
            fixed = read_fixed_set(config.path)
            source = open_fixed_set(fixed, config.folder, config.rate)
            _check(fixed, source, config)
            return source
        case Table():
            return TableSource(config)
        case Joined():
            return JoinedSource(config)
        case Explanations():
            return ExplanationRows(_tiered(config), config.captioning)
        case _:
            raise TypeError(f"{type(config).__name__} is no source of examples")


def open_fixed_set(fixed: FixedSet, folder: str, rate: int) -> EditedPairs | RawPairs:
    """The pairs of `fixed` over the recordings in `folder`, whatever its hash says."""
    recordings = Folder(
        folder, folds=fixed.folds, backgrounds=fixed.backgrounds, subset=fixed.subset
    )
    if fixed.kind == "natural":
        return _natural(
            NaturalPairs(recordings, fixed.name, fixed.size, fixed.seed, rate, templates="test")
        )
    pairs = SynthPairs(
        recordings, fixed.recipe, fixed.stream, fixed.size, fixed.seed, rate, templates="test"
    )
    return _edited(pairs, fixed.name)


def write_recipe_files(
    directory: str, sets: Sequence[FixedSet], folder: str, prefix: str
) -> tuple[str, ...]:
    """Write each set, with the hash of what it draws from `folder`, to `prefix`NAME.json.

    Returns the paths. The files are what two people must share to score on the same pairs.
    """
    epath.Path(directory).mkdir(parents=True, exist_ok=True)
    paths = []
    for fixed in sets:
        source = open_fixed_set(fixed, folder, rate=16_000)  # scenes do not depend on the rate
        path = str(epath.Path(directory) / f"{prefix}{fixed.name}.json")
        write_fixed_set(path, replace(fixed, sha256=description_hash(source.descriptions())))
        paths.append(path)
    return tuple(paths)


def _edited(config: SynthPairs, name: str) -> EditedPairs:
    return EditedPairs(
        library=open_library(config.recordings, config.rate),
        recipe=config.recipe,
        name=name,
        stream=config.split,
        size=config.size,
        seed=config.seed,
        templates=config.templates,
        tier=config.tier,
    )


def _natural(config: NaturalPairs) -> RawPairs:
    library = open_library(config.recordings, config.rate)
    return RawPairs(library, config.split, config.size, config.seed, config.templates)


def _tiered(config: Explanations) -> Tiered:
    source = open_source(config.pairs)
    match source:
        case EditedPairs():
            return MadeTiers(source, config.tiers)
        case TableSource() | JoinedSource():
            return StoredTiers(source, config.tiers)
        case _:
            raise ValueError(
                f"Explanations.pairs: {type(config.pairs).__name__} gives {type(source).__name__}, "
                "which have no explanations; use a table or pairs with edits"
            )


def _check(fixed: FixedSet, source: EditedPairs | RawPairs, config: RecipeFile) -> None:
    drawn = description_hash(source.descriptions())
    if drawn != fixed.sha256:
        raise ValueError(
            f"{config.path} was drawn from other recordings than those in {config.folder}: its "
            f"scenes have SHA-256 {fixed.sha256[:12]}..., these {drawn[:12]}...; use the "
            "recordings it was made for, or write a recipe file of your own"
        )
