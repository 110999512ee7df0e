"""What `adiff_jax.load(run)` answers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """What the model says of one pair, or one clip.

    `score` is the sum of the sentence's log-probabilities; `n_best` holds (text, score), best
    first; `seconds` is the wall time of the call, reading and compiling included; `notes` says
    what was done to a clip that did not fit; `prompt` is what was asked. Models whose tagging head
    has names give `events`, for either clip (name, probability), most likely first, and
    `unsupported`: events that `text` names and neither clip seems to hold
    (`evaluate/unsupported.py`; `Explainer.warned` says how right that is).
    """

    text: str
    score: float
    n_best: tuple[tuple[str, float], ...]
    seconds: float
    notes: tuple[str, ...] = ()
    prompt: str = ""
    events: tuple[tuple[tuple[str, float], ...], ...] = ()
    unsupported: tuple[str, ...] = ()
