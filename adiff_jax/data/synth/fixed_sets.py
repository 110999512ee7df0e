"""Fixed test sets as small files: what pairs are drawn from, and a hash of what was drawn.

The hash is over scene descriptions, not samples: recordings in lossy formats decode slightly
differently from one decoder to the next, scenes are the same text everywhere.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from etils import epath

from adiff_jax.data.synth.recipe import Recipe, Weights
from adiff_jax.text_files import read_text

_PAIRS_TUPLES = ("reference_db", "event_counts", "event_seconds", "snr_db", "shift_noise_db")


@dataclass(frozen=True)
class FixedSet:
    """A test set. `kind` "edits" draws pairs of scenes by `recipe`; "natural" pairs raw clips.

    `stream` names the random stream: sets that share it (and the seed) have the same scenes.
    """

    name: str
    kind: Literal["edits", "natural"] = "edits"
    stream: str = "test"
    seed: int = 2023
    size: int = 1200
    folds: tuple[int, ...] = (4,)
    backgrounds: tuple[str, ...] = ("rain", "sea_waves")
    subset: Literal["all", "esc10"] = "esc10"
    recipe: Recipe = field(default_factory=Recipe)
    sha256: str = ""


SINGLE = FixedSet(
    name="single",
    recipe=Recipe(
        duration=10.0,
        reference_db=(-40.0, -30.0),
        event_counts=(0.2, 0.5, 0.3),
        event_seconds=(3.0, 5.0),
        snr_db=(0.0, 15.0),
        level_step_db=10.0,
        weights=Weights(),
        balance=True,
    ),
)

ESC10_SETS = (
    SINGLE,
    replace(SINGLE, name="redraw", recipe=replace(SINGLE.recipe, jitter=1.0)),
    replace(
        SINGLE,
        name="double",
        recipe=replace(SINGLE.recipe, weights=Weights(none=0.0), two_edits=1.0),
    ),
    replace(SINGLE, name="shift", recipe=replace(SINGLE.recipe, shift=1.0)),
    FixedSet(name="natural", kind="natural"),
)


def write_fixed_set(path: str, fixed: FixedSet) -> None:
    """Write `fixed` as JSON; a natural set has no recipe."""
    written = asdict(fixed)
    if fixed.kind == "natural":
        del written["recipe"]
    epath.Path(path).write_text(json.dumps(written, indent=1) + "\n")


def read_fixed_set(path: str) -> FixedSet:
    """The set that `write_fixed_set` wrote; ValueError names the file and the field otherwise."""
    file = epath.Path(path)
    if not file.exists():
        raise ValueError(
            f"{path}: no such recipe file; those of ESC-10 lie in configs/recipes/, and paths are "
            "from the directory that the command runs in"
        )
    try:
        fields: dict[str, Any] = json.loads(read_text(file))
        recipe = fields.pop("recipe", {})
        weights = Weights(**recipe.pop("weights", {}))
        for name in _PAIRS_TUPLES:
            if name in recipe:
                recipe[name] = tuple(recipe[name])
        fields["folds"] = tuple(fields["folds"])
        fields["backgrounds"] = tuple(fields["backgrounds"])
        return FixedSet(**fields, recipe=Recipe(**recipe, weights=weights))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no recipe file ({error}); write it again") from error
