"""CL4AC <-> `models/cl4ac.py`: Cnn10 with its bridge, the text decoder, the matching head.

PyTorch packs queries, keys and values of an attention in one entry, ours are three leaves: `split`
takes a file's packed entries apart before the table sees them, `joined` packs those of an export.
Without a leaf are the positions, which are computed here, and the frontend: the original read
features from files, so a model may also hold the constants of the PANNs weights it began with.
"""

from collections.abc import Callable

import numpy as np

from adiff_jax.audio.frontends import CL4AC, CNN10
from adiff_jax.convert import cnn10, engine
from adiff_jax.convert.constants import frontend_constants
from adiff_jax.convert.engine import Converted, Sidecar, StateDict, Variables
from adiff_jax.convert.table import (
    Carried,
    Flat,
    Matrix,
    Rule,
    Table,
    below,
    layer_norm,
    linear,
)
from adiff_jax.nn.transformer import sinusoidal_positions

ENCODER = "feature_extractor."
PACKED = (".in_proj_weight", ".in_proj_bias")
PARTS = ("query", "key", "value")
"""In the order that PyTorch packs them, along the first axis."""

_POSITIONS_TOLERANCE = 1e-3
"""Above what float32 makes of the angles of 2000 positions (1e-4), below a shift by one (1)."""


def _attention(there: str, here: str) -> tuple[Rule, ...]:
    return (
        *(
            rule
            for part in PARTS
            for rule in (
                Rule(f"{there}.in_proj_weight.{part}", f"params/{here}/{part}/kernel", Matrix()),
                Rule(f"{there}.in_proj_bias.{part}", f"params/{here}/{part}/bias", Flat()),
            )
        ),
        Rule(f"{there}.out_proj.weight", f"params/{here}/out/kernel", Matrix(inputs=2)),
        Rule(f"{there}.out_proj.bias", f"params/{here}/out/bias"),
    )


def _layers(there: str, here: str) -> tuple[Rule, ...]:
    return (
        *_attention(f"{there}.self_attn", f"{here}/self_attention"),
        *_attention(f"{there}.multihead_attn", f"{here}/cross_attention"),
        *linear(f"{there}.linear1", f"{here}/feed_forward/expand"),
        *linear(f"{there}.linear2", f"{here}/feed_forward/contract"),
        *(
            rule
            for number in (1, 2, 3)
            for rule in layer_norm(f"{there}.norm{number}", f"{here}/norm_{number}")
        ),
    )


def _positions(theirs: np.ndarray) -> str:
    """What is wrong with stored positions [s 1 d], "" when nothing is."""
    if theirs.ndim != 3 or theirs.shape[1] != 1:
        return f"is {theirs.shape}, no table of positions"
    ours = sinusoidal_positions(theirs.shape[0], theirs.shape[2])
    distance = float(np.abs(theirs[:, 0].astype(np.float32) - ours).max(initial=0))
    if distance <= _POSITIONS_TOLERANCE:
        return ""
    return f"differs from ours by up to {distance:.3g}: it was trained with other positions"


def _one_of(first: Carried, second: Carried) -> Carried:
    """An entry that must be what one of two is; the complaint is that of the first."""

    def check(theirs: np.ndarray) -> str:
        complaints = [_complaint(entry.check, theirs) for entry in (first, second)]
        return complaints[0] if all(complaints) else ""

    return Carried(first.source, check)


def _complaint(check: Callable[[np.ndarray], str] | None, theirs: np.ndarray) -> str:
    return "" if check is None else check(theirs)


TABLE = Table(
    "CL4AC",
    rules=(
        *below(
            (rule for rule in cnn10.TABLE.rules if "/encoder/" in rule.target), ENCODER, target=""
        ),
        *linear(f"{ENCODER}fc1", "bridge_1"),
        *linear(f"{ENCODER}fc2", "bridge_2"),
        Rule("word_emb.weight", "params/decoder/embedding/embedding"),
        *_layers("transformer_decoder.layers.{i}", "decoder/blocks_{i}"),
        *linear("dec_fc", "decoder/output"),
        *linear("rs_fc", "matching"),
    ),
    carried=(
        *map(_one_of, frontend_constants(ENCODER, CL4AC), frontend_constants(ENCODER, CNN10)),
        Carried(f"{ENCODER}bn0.num_batches_tracked"),
        Carried(f"{ENCODER}conv_block{{i}}.bn{{j}}.num_batches_tracked"),
        Carried("pos_encoder.pe", _positions),
    ),
)
"""Of entries that `split` has taken apart."""


def split(state: StateDict) -> StateDict:
    """The packed projections as an entry each; what does not divide by three is left as it is."""
    entries: dict[str, np.ndarray] = {}
    for name, value in state.entries.items():
        if name.endswith(PACKED) and value.ndim and value.shape[0] % len(PARTS) == 0:
            parts = np.split(value, len(PARTS))
            entries |= {f"{name}.{part}": v for part, v in zip(PARTS, parts, strict=True)}
        else:
            entries[name] = value
    return StateDict(entries, state.container)


def joined(state: StateDict) -> StateDict:
    """The projections packed again, in the place of the queries."""
    entries: dict[str, np.ndarray] = {}
    for name, value in state.entries.items():
        packed, _, part = name.rpartition(".")
        if not packed.endswith(PACKED):
            entries[name] = value
        elif part == PARTS[0]:
            parts = [state.entries[f"{packed}.{part}"] for part in PARTS]
            entries[packed] = np.concatenate(parts)
    return StateDict(entries, state.container)


def to_ours(state: StateDict, abstract: Variables) -> Converted:
    """As `engine.to_ours`, from a file's own entries; the sidecar lists them split."""
    return engine.to_ours(TABLE, split(state), abstract)


def to_torch(variables: Variables, sidecar: Sidecar) -> StateDict:
    """As `engine.to_torch`, to a file's own entries."""
    return joined(engine.to_torch(TABLE, variables, sidecar))
