"""What a PyTorch checkpoint turns out to be: its sizes, and the experiment that it becomes.

One function a kind of checkpoint, from its entries to a `Found`; `KINDS` names them as the command
line does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adiff_jax.audio.frontends import LogMel
from adiff_jax.convert import adiff, byola, cnn10, gpt2, htsat
from adiff_jax.convert.engine import ConversionError, Variables
from adiff_jax.convert.shapes import adiff_shapes, language_model_shapes, tagger_shapes
from adiff_jax.convert.table import Table
from adiff_jax.convert.torch_files import read_config
from adiff_jax.data.gpt2_vocabulary import Gpt2Vocabulary
from adiff_jax.data.tokenizers import Tokenizer, build_tokenizer
from adiff_jax.data.transforms import EncodeConfig
from adiff_jax.data.wording import Compat
from adiff_jax.experiment import Data, Experiment
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.byola import ByolA
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.gpt2 import Gpt2
from adiff_jax.models.htsat import Htsat
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.models.tagger import Tagger

LONGEST = 280
"""Tokens of the longest answers, those of tier 3."""

SHORTER = (64, 128)
"""Tokens that hold the answers of tier 1, and those of tier 2."""


@dataclass(frozen=True)
class Source:
    """What the user gave: the checkpoint, names of a tagging head's classes if known, and whether
    an ADIFF was trained with the published conventions ("adiff-2025") or with ours ("")."""

    path: Path
    classes: tuple[str, ...] = ()
    compat: Compat = "adiff-2025"


@dataclass(frozen=True)
class Found:
    """What a checkpoint turned out to be; `next_command` may use {out}."""

    abstract: Variables
    experiment: Experiment
    next_command: str
    classes: tuple[str, ...] = ()
    tokenizer: Tokenizer | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint: its table, and how entries (names without prefixes) are recognised."""

    table: Table
    find: Callable[[Mapping[str, np.ndarray], Source], Found]


def _adiff(entries: Mapping[str, np.ndarray], source: Source) -> Found:
    model = replace(adiff.config_of(entries), compat=source.compat)
    tokenizer = _vocabulary(Gpt2Vocabulary(), model.vocab_size)
    return Found(
        adiff_shapes(model),
        _adiff_experiment(model),
        "adiff explain {out} first.wav second.wav",
        named_classes(source.classes, model.clips.classes),
        tokenizer,
    )


def _gpt2(entries: Mapping[str, np.ndarray], source: Source) -> Found:
    """A run of the language model alone, its texts where ADIFF's will stand."""
    del entries
    lm = gpt2.config_of(read_config(source.path))
    beside = (source.path / "vocab.json").is_file()
    folder = Gpt2Vocabulary(str(source.path.resolve())) if beside else Gpt2Vocabulary()
    tokenizer = _vocabulary(folder, lm.vocab_size)
    context = min(Adiff().prefix_length, lm.positions // 2)
    model = LanguageModel(lm, end_id=tokenizer.end_id, context=context)
    encode = EncodeConfig(max_tokens=min(LONGEST, lm.positions - context))
    return Found(
        language_model_shapes(lm),
        Experiment("gpt2", model, data=Data(encode=encode, tokenizer=Gpt2Vocabulary())),
        f"adiff train configs/adiff_stage2.py --init ENCODER_RUN --init {{out}}{_sizes(lm)}",
        (),
        tokenizer,
    )


def _byola(entries: Mapping[str, np.ndarray], source: Source) -> Found:
    del source
    encoder = byola.config_of(entries)
    model = Tagger(encoder=encoder)
    given = f"--model.encoder.width {encoder.width}" if isinstance(encoder, ByolA) else ""
    return Found(
        tagger_shapes(model, head=False),
        Experiment("byola", model, data=_data(encoder.frontend)),
        f"adiff train configs/adc_sdd.py --init {{out}} {given}"
        if given
        else "adiff train CONFIG --init {out}, with encoder=ByolA2() in CONFIG",
    )


def _cnn10(entries: Mapping[str, np.ndarray], source: Source) -> Found:
    classes = named_classes(source.classes, cnn10.classes_of(entries))
    model = Tagger(encoder=Cnn10(), classes=len(classes))
    command = "adiff train CONFIG --init {out}, with encoder=Cnn10() in CONFIG"
    return Found(tagger_shapes(model), _tagger("cnn10", model), command, classes)


def _htsat(entries: Mapping[str, np.ndarray], source: Source) -> Found:
    classes = named_classes(source.classes, htsat.classes_of(entries))
    model = Tagger(encoder=Htsat(), classes=len(classes))
    command = "adiff train configs/adiff_stage2.py --init {out} --init LANGUAGE_MODEL_RUN"
    return Found(tagger_shapes(model), _tagger("htsat", model), command, classes)


KINDS: Mapping[str, Kind] = {
    "adiff": Kind(adiff.TABLE, _adiff),
    "gpt2": Kind(gpt2.TABLE, _gpt2),
    "htsat": Kind(htsat.TABLE, _htsat),
    "byola": Kind(byola.TABLE, _byola),
    "cnn10": Kind(cnn10.TABLE, _cnn10),
}
"""By the name that the command line gives them."""


def _sizes(lm: Gpt2) -> str:
    """The options that make the base model of a config one of these sizes."""
    fields = ("layers", "heads", "width", "positions", "vocab_size")
    other = [name for name in fields if getattr(lm, name) != getattr(Gpt2(), name)]
    return "".join(f" --model.lm.{name.replace('_', '-')} {getattr(lm, name)}" for name in other)


def named_classes(given: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The given class names, or numbers in their place. ConversionError for a wrong number."""
    if given and len(given) != count:
        raise ConversionError(f"{len(given)} class names are given, the head has {count} classes")
    return given or tuple(f"class {number}" for number in range(count))


def _tagger(name: str, model: Tagger) -> Experiment:
    return Experiment(name, model, data=_data(model.encoder.frontend))


def _data(frontend: LogMel) -> Data:
    return Data(encode=EncodeConfig(rate=frontend.rate))


def _adiff_experiment(model: Adiff) -> Experiment:
    """Clips of ten seconds, tiled when shorter."""
    longest = min(LONGEST, model.lm.positions - model.prefix_length)
    encode = EncodeConfig(
        rate=model.encoder.frontend.rate,
        max_tokens=longest,
        buckets=(*(size for size in SHORTER if size < longest), longest),
        short="tile",
        prompt_tokens=model.mappers.tokens,
        compat=model.compat,
    )
    return Experiment("adiff", model, data=Data(encode=encode, tokenizer=Gpt2Vocabulary()))


def _vocabulary(config: Gpt2Vocabulary, size: int) -> Tokenizer:
    """GPT-2's. ConversionError when the embeddings are of another."""
    tokenizer = build_tokenizer(config, ())
    if tokenizer.vocab_size != size:
        raise ConversionError(
            f"the checkpoint embeds {size} tokens, GPT-2's vocabulary has {tokenizer.vocab_size}: "
            "it speaks another vocabulary, which cannot be guessed"
        )
    return tokenizer
