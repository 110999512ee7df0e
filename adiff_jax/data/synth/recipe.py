"""What pairs are drawn from: the statistics of scenes and the weights of edits.

The form follows AudioDiffCaps (Takeuchi et al., DCASE 2023) as far as it is published; the
defaults are those of the ESC-10 test sets (`fixed_sets`).
"""

from dataclasses import dataclass, field, fields

from adiff_jax.data.schema import BACKGROUND_OPERATIONS, OPERATIONS


@dataclass(frozen=True)
class Weights:
    """How often each operation is drawn, relative to the others; 0 leaves it out."""

    none: float = 1.0
    add: float = 1.0
    remove: float = 1.0
    louder: float = 1.0
    quieter: float = 1.0
    replace: float = 1.0
    earlier: float = 0.0
    later: float = 0.0
    background_louder: float = 1.0
    background_quieter: float = 1.0
    background_swap: float = 0.0

    def drawn(self) -> tuple[str, ...]:
        """The operations of positive weight, in the order of `OPERATIONS`."""
        return tuple(name for name in OPERATIONS if getattr(self, name) > 0)


@dataclass(frozen=True)
class Recipe:
    """Everything that pairs are drawn from. Levels in dB, loudness in LUFS, times in seconds.

    `event_counts[k]` is the weight of k events in the first clip; no clip has more than the
    longest of these. `two_edits` is the share of pairs with two. `jitter` is the share of pairs
    in which every event of the second clip begins elsewhere, without that being an edit, `shift`
    the share whose clips each have a gain, an equaliser and a noise of their own. `balance` takes
    the first operation of consecutive pairs in turn instead of drawing it ("none" only where the
    pair is not one of two edits).
    """

    duration: float = 10.0
    reference_db: tuple[float, float] = (-40.0, -30.0)
    event_counts: tuple[float, ...] = (0.2, 0.5, 0.3)
    event_seconds: tuple[float, float] = (3.0, 5.0)
    snr_db: tuple[float, float] = (0.0, 15.0)
    level_step_db: float = 10.0
    least_move: float = 1.5
    weights: Weights = field(default_factory=Weights)
    two_edits: float = 0.0
    jitter: float = 0.0
    shift: float = 0.0
    shift_gain_db: float = 6.0
    shift_equaliser_db: float = 6.0
    shift_noise_db: tuple[float, float] = (-40.0, -20.0)
    balance: bool = False

    def __post_init__(self) -> None:
        drawn = self.weights.drawn()
        if not drawn or any(getattr(self.weights, f.name) < 0 for f in fields(self.weights)):
            raise ValueError("Recipe.weights must be at least 0, and one of them above 0")
        on_events = set(drawn) - {"none", *BACKGROUND_OPERATIONS}
        if self.most_events < 1 and on_events:
            raise ValueError("Recipe.event_counts allows no events; add a weight for one event")
        if self.two_edits > 0 and (self.most_events < 2 or not on_events):
            raise ValueError(
                "Recipe.two_edits needs two events (event_counts of length 3 or more) and an "
                "operation on events, since the background is edited once at most"
            )
        if {"earlier", "later"} & set(drawn):
            if self.jitter > 0:
                raise ValueError(
                    "Recipe.jitter moves events without an edit, which contradicts the operations "
                    "earlier and later; set jitter or their weights to 0"
                )
            if self.duration - self.event_seconds[1] < self.least_move:
                raise ValueError(
                    f"Recipe.duration {self.duration} leaves no room to move an event of "
                    f"{self.event_seconds[1]} s by {self.least_move} s; lengthen it"
                )
        if self.duration < self.event_seconds[1]:
            raise ValueError("Recipe.duration is shorter than the longest of event_seconds")

    @property
    def most_events(self) -> int:
        """How many events a clip has at most."""
        return len(self.event_counts) - 1
