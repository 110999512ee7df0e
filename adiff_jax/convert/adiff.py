"""ADIFF <-> `models/adiff.py`: HTSAT, projection, mappers, cross-projection and GPT-2 in one file.

An official checkpoint is a bare state dictionary of 576 entries when transformers 4.28 wrote it
(causal masks are among them) or 552 by 5.x, each name optionally behind `module.`.
"""

import re
from collections.abc import Mapping

import numpy as np

from adiff_jax.convert import gpt2, htsat
from adiff_jax.convert.engine import ConversionError
from adiff_jax.convert.table import (
    Matrix,
    Rule,
    Table,
    Tied,
    below,
    carried_below,
    layer_norm,
    linear,
)
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.prefix import CrossProjection, Mappers
from adiff_jax.models.tagger import Tagger

HTSAT, DECODER = "audio_encoder.base.htsat.", "caption_decoder."
GPT = f"{DECODER}gpt.transformer."
HEAD_WIDTH = 64
"""Of every published GPT-2; the number of heads does not show in the shapes."""


def _transformer(there: str, here: str) -> tuple[Rule, ...]:
    """Layers of a mapper or of the cross-projection; keys lie before values."""
    theirs, ours = f"{there}.layers.{{i}}", f"{here}/layers_{{i}}"
    return (
        *layer_norm(f"{theirs}.norm1", f"{ours}/norm_1"),
        Rule(f"{theirs}.attn.to_queries.weight", f"params/{ours}/query/kernel", Matrix()),
        Rule(f"{theirs}.attn.to_keys_values.weight", f"params/{ours}/key_value/kernel", Matrix()),
        Rule(f"{theirs}.attn.project.weight", f"params/{ours}/out/kernel", Matrix(inputs=2)),
        Rule(f"{theirs}.attn.project.bias", f"params/{ours}/out/bias"),
        *layer_norm(f"{theirs}.norm2", f"{ours}/norm_2"),
        *linear(f"{theirs}.mlp.fc1", f"{ours}/expand"),
        *linear(f"{theirs}.mlp.fc2", f"{ours}/contract"),
    )


def _mapper(there: str, here: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{there}.prefix_const", f"params/{here}/constants"),
        *_transformer(f"{there}.transformer", f"{here}/transformer"),
    )


TABLE = Table(
    "ADIFF",
    rules=(
        *below(htsat.rules(), HTSAT, "clips"),
        *linear("audio_encoder.projection.linear1", "projection/linear_1", bias=False),
        *linear("audio_encoder.projection.linear2", "projection/linear_2", bias=False),
        *layer_norm("audio_encoder.projection.layer_norm", "projection/norm"),
        *below(gpt2.rules(), GPT, ""),
        *(
            rule
            for which in (1, 2)
            for rule in (
                *linear(f"{DECODER}audio_project{which}.linear", f"mapper_{which}/expand"),
                *_mapper(f"{DECODER}audio_project{which}", f"mapper_{which}"),
            )
        ),
        *_mapper(f"{DECODER}text_project", "text_mapper"),
        *_transformer(f"{DECODER}cross_project", "cross"),
    ),
    tied=(Tied(f"{DECODER}gpt.lm_head.weight", f"{GPT}wte.weight"),),
    carried=(*carried_below(htsat.carried(Htsat()), HTSAT), *carried_below(gpt2.carried(), GPT)),
)


def config_of(entries: Mapping[str, np.ndarray]) -> Adiff:
    """The sizes that these entries (names without `module.`) show; the encoder is as published.

    Raises ConversionError for a file without the matrices that the sizes are read from.
    """
    constants, words, positions = (
        f"{DECODER}audio_project1.prefix_const",
        f"{GPT}wte.weight",
        f"{GPT}wpe.weight",
    )
    if missing := [name for name in (constants, words, positions) if name not in entries]:
        raise ConversionError(
            f"the file is no ADIFF checkpoint: it has no {', '.join(map(repr, missing))}; its "
            f"entries are {', '.join(list(entries)[:8])}, ..."
        )
    for name in (constants, words, positions):
        if entries[name].ndim != 2 or not entries[name].size:
            raise ConversionError(f"{name!r} is {entries[name].shape}, a matrix is needed")
    vocab_size, width = entries[words].shape
    lm = Gpt2(
        layers=_layers(entries, f"{GPT}h."),
        heads=max(1, width // HEAD_WIDTH),
        width=width,
        positions=entries[positions].shape[0],
        vocab_size=vocab_size,
    )
    cross = _layers(entries, f"{DECODER}cross_project.layers.")
    published = Adiff()
    return Adiff(
        clips=Tagger(encoder=Htsat(), classes=htsat.classes_of(entries, f"{HTSAT}tscam_conv.bias")),
        mappers=Mappers(
            tokens=entries[constants].shape[0],
            audio_layers=_layers(entries, f"{DECODER}audio_project1.transformer.layers."),
            text_layers=_layers(entries, f"{DECODER}text_project.transformer.layers."),
        ),
        cross=CrossProjection(layers=cross) if cross else None,
        lm=lm,
        separator_id=min(published.separator_id, vocab_size - 1),
    )


def _layers(entries: Mapping[str, np.ndarray], prefix: str) -> int:
    """How many numbers follow `prefix`."""
    found = (re.match(re.escape(prefix) + r"(\d+)\.", name) for name in entries)
    return len({hit[1] for hit in found if hit})
