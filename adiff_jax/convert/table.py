"""What a table of conversion is made of: names there, leaves here, and the layout between them.

A rule pairs one PyTorch name with one leaf of ours, "{i}" standing for the same number on both
sides. Layouts are reversible and only move values: PyTorch's Linear is [out in], its convolutions
[out in height width], GPT-2's Conv1D [in out]; ours are [in ... out ...], heads split.
"""

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Same:
    """The same shape on both sides."""

    def to_torch(self, ours: np.ndarray) -> np.ndarray:
        """Ours -> PyTorch's."""
        return ours

    def to_ours(self, theirs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """PyTorch's -> ours, of `shape`."""
        return theirs.reshape(shape)


@dataclass(frozen=True)
class Flat:
    """A vector there, split into heads here (the bias of a projection)."""

    def to_torch(self, ours: np.ndarray) -> np.ndarray:
        """Ours -> PyTorch's."""
        return ours.reshape(-1)

    def to_ours(self, theirs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """PyTorch's -> ours, of `shape`."""
        return theirs.reshape(shape)


@dataclass(frozen=True)
class Matrix:
    """A matrix there; here the first `inputs` axes are what it reads, the others what it writes.

    A Linear is stored [out in]; with `transposed` off it is GPT-2's Conv1D, [in out]. Queries,
    keys and values (or keys and values) lie one after the other there and along an axis here.
    """

    inputs: int = 1
    transposed: bool = True

    def to_torch(self, ours: np.ndarray) -> np.ndarray:
        """Ours -> PyTorch's."""
        read = int(np.prod(ours.shape[: self.inputs]))
        matrix = ours.reshape(read, -1)
        return matrix.T if self.transposed else matrix

    def to_ours(self, theirs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """PyTorch's -> ours, of `shape`."""
        return (theirs.T if self.transposed else theirs).reshape(shape)


@dataclass(frozen=True)
class Convolution:
    """Axis k there is axis `axes[k]` here: [out in height width] of [height width in out]."""

    axes: tuple[int, ...] = (3, 2, 0, 1)

    def to_torch(self, ours: np.ndarray) -> np.ndarray:
        """Ours -> PyTorch's."""
        return ours.transpose(self.axes)

    def to_ours(self, theirs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """PyTorch's -> ours, of `shape`."""
        return theirs.transpose(np.argsort(self.axes)).reshape(shape)


Layout = Same | Flat | Matrix | Convolution


@dataclass(frozen=True)
class Rule:
    """`source` is a PyTorch name, `target` a leaf: "params/..." or "batch_stats/...".

    "{i}" or any other name in braces stands for a number, the same on both sides.
    """

    source: str
    target: str
    layout: Layout = Same()


@dataclass(frozen=True)
class Tied:
    """An entry that PyTorch stores twice; it must equal `to`, and is made from it again."""

    source: str
    to: str


@dataclass(frozen=True)
class Carried:
    """An entry without a leaf of ours: kept beside the weights, given back by an export.

    `check` says what is wrong with its value ("" when nothing is).
    """

    source: str
    check: Callable[[np.ndarray], str] | None = None


@dataclass(frozen=True)
class Table:
    """All that a kind of PyTorch checkpoint may hold.

    `prefixes` may stand before any name and are taken off in this order; `containers` are the keys
    that a published file may keep its state dictionary under.
    """

    name: str
    rules: tuple[Rule, ...]
    tied: tuple[Tied, ...] = ()
    carried: tuple[Carried, ...] = ()
    prefixes: tuple[str, ...] = ("module.",)
    containers: tuple[str, ...] = ()

    def canonical(self, name: str) -> str:
        """A name of a file without the prefixes."""
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        return name

    def rule_of(self, leaf: str) -> tuple[str, Layout] | None:
        """The PyTorch name and the layout of one of our leaves; None when no rule has it."""
        for rule in self.rules:
            if (numbers := match(rule.target, leaf)) is not None:
                return rule.source.format(**numbers), rule.layout
        return None

    def carrier_of(self, name: str) -> Carried | None:
        """The entry of `carried` that has this name, or None."""
        return next((c for c in self.carried if match(c.source, name) is not None), None)


def match(pattern: str, name: str) -> dict[str, str] | None:
    """The numbers that "{i}" and the like stand for when `pattern` is `name`; None otherwise."""
    found = _expression(pattern).fullmatch(name)
    return None if found is None else found.groupdict()


@functools.cache
def _expression(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"\{(\w+)\}", pattern)
    return re.compile(
        "".join(
            re.escape(piece) if at % 2 == 0 else rf"(?P<{piece}>\d+)"
            for at, piece in enumerate(pieces)
        )
    )


def below(rules: Iterable[Rule], source: str, target: str) -> tuple[Rule, ...]:
    """Rules of a part, for a whole that has it below `source` there and `target` here.

    `target` comes after the collection: "encoder" puts "params/conv" at "params/encoder/conv".
    """

    def placed(path: str) -> str:
        collection, _, rest = path.partition("/")
        return f"{collection}/{target}/{rest}"

    return tuple(
        Rule(source + rule.source, placed(rule.target) if target else rule.target, rule.layout)
        for rule in rules
    )


def carried_below(carried: Iterable[Carried], source: str) -> tuple[Carried, ...]:
    """Carried entries of a part, for a whole that has it below `source`."""
    return tuple(replace(entry, source=source + entry.source) for entry in carried)


def layer_norm(source: str, target: str) -> tuple[Rule, ...]:
    """weight and bias -> scale and bias."""
    return (
        Rule(f"{source}.weight", f"params/{target}/scale"),
        Rule(f"{source}.bias", f"params/{target}/bias"),
    )


def batch_norm(source: str, target: str) -> tuple[Rule, ...]:
    """weight, bias and running statistics; its `num_batches_tracked` is to be carried."""
    return (
        *layer_norm(source, target),
        Rule(f"{source}.running_mean", f"batch_stats/{target}/mean"),
        Rule(f"{source}.running_var", f"batch_stats/{target}/var"),
    )


def linear(source: str, target: str, bias: bool = True) -> tuple[Rule, ...]:
    """A Linear -> kernel and bias of a Dense."""
    kernel = Rule(f"{source}.weight", f"params/{target}/kernel", Matrix())
    return (kernel, Rule(f"{source}.bias", f"params/{target}/bias")) if bias else (kernel,)
