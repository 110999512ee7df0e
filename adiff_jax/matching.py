"""The matching loss: does a sentence say what is heard? What it is asked of, as configuration.

Liu et al., "CL4AC: A Contrastive Loss for Audio Captioning" (DCASE 2021, arXiv 2107.09990). A model
that is trained with it reads its clips with their own sentence and with a *negative*, and tells by
the hidden state of the decoder at the last word which is which. The encoder runs once.

A negative that happens to be true is none. It is left out of the loss, together with the own
sentence of its row, so that both answers are as frequent; how often that happens is logged as
`false_negatives`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class AnotherCaption:
    """A caption of another example of the source, asked the same, drawn uniformly.

    Made explanations of tier 2 and 3 cost a rendering each: `InBatch` has them at hand.
    """


@dataclass(frozen=True)
class InBatch:
    """The sentence of another row of the batch, asked the same, drawn uniformly."""


@dataclass(frozen=True)
class SwappedOrder:
    """The own sentence, of the clips in the other order: the hard negative of pairs.

    True where the program is its own inverse, as that of "nothing changed" is.
    """


@dataclass(frozen=True)
class EditedCaption:
    """A sentence of the grammar that states one of the edits the other way round (add ↔ remove,
    louder ↔ quieter, ...); for pairs whose captions are instructions of our own."""


@dataclass(frozen=True)
class EpochCaption:
    """One caption for all rows of an epoch, true or not, as the published code has it: what is to
    be learnt then is the sentence. An epoch has `rows` readings; 0 stands for the whole source."""

    rows: int = 0

    def __post_init__(self) -> None:
        if self.rows < 0:
            raise ValueError(f"EpochCaption.rows is {self.rows}: give 0 or more")


Negative = AnotherCaption | InBatch | SwappedOrder | EditedCaption | EpochCaption


@dataclass(frozen=True)
class Matching:
    """The loss, `weight` times the cross-entropy of the two answers. Two weights are equal in the
    paper: that of the caption is 1."""

    negative: Negative = AnotherCaption()
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise ValueError(
                f"Matching.weight is {self.weight}: give a number above 0, or set matching to None"
            )

    @property
    def swaps(self) -> bool:
        """Whether the negative is the own sentence of swapped clips."""
        return isinstance(self.negative, SwappedOrder)
