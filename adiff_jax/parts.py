"""The parts of an experiment once its data are at hand: mesh, tokenizer, objective, rows."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from adiff_jax.arrays import Batch
from adiff_jax.data.buckets import BucketOrder, caption_lengths
from adiff_jax.data.lengths import check_lengths
from adiff_jax.data.negatives import Negatives
from adiff_jax.data.order import RowOrder
from adiff_jax.data.pipeline import evaluation_batches, load_row
from adiff_jax.data.prompts import PARAPHRASES
from adiff_jax.data.schema import Arrays, Labelled, Source
from adiff_jax.data.tokenizers import (
    Tokenizer,
    TokenizerConfig,
    Words,
    build_tokenizer,
    gaps_in_words,
    vocabulary_gaps,
)
from adiff_jax.data.transforms import Encode
from adiff_jax.decode.generate import Strategy, generate, parse_strategy
from adiff_jax.evaluate.evaluator import Generated
from adiff_jax.experiment import ConfigError, Experiment
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.models.tagger import Tagger
from adiff_jax.objectives import Captioning, LanguageModelling, Tagging
from adiff_jax.parallel.mesh import (
    check_divides,
    constrainer,
    local_rows,
    make_mesh,
    put_batch,
    replicated,
)
from adiff_jax.protocol import Variables
from adiff_jax.train.optim import check_patterns, trainable


@dataclass(frozen=True)
class Parts:
    """What an experiment is made of once its data are at hand."""

    experiment: Experiment
    mesh: Mesh
    tokenizer: Tokenizer | None  # None for tagging
    classes: tuple[str, ...] = ()  # of the tagger, or of the model's tagging head

    def __post_init__(self) -> None:
        model, tokenizer = self.experiment.model, self.tokenizer
        if tokenizer and not isinstance(model, Tagger) and tokenizer.vocab_size > model.vocab_size:
            field = f"model.{'' if isinstance(model, Adc | Cl4ac) else 'lm.'}vocab_size"
            raise ConfigError(
                f"{field} is {model.vocab_size}, but the tokenizer has "
                f"{tokenizer.vocab_size} tokens: set it to at least that (the language model that "
                "the run starts from, if any, must have as many)"
            )
        end = None if tokenizer is None else tokenizer.end_id
        if isinstance(model, Cl4ac) and model.compat and end not in (None, model.decoder.end_id):
            raise ConfigError(
                f"model.decoder.end_id is {model.decoder.end_id}, but the tokenizer ends sentences "
                f"with {end}, which model.compat learns as padding: set it to that"
            )

    @cached_property
    def objective(self) -> Captioning | Tagging | LanguageModelling:
        return self.experiment.objective(constrainer(self.mesh))

    @property
    def clips(self) -> int:
        """Clips of one example."""
        match self.experiment.model:
            case LanguageModel():
                return 0
            case Tagger() | Cl4ac():
                return 1
            case _:
                return 2

    @property
    def encode(self) -> Encode:
        labels = self.classes if self.tokenizer is None else ()
        config = self.experiment.data.encode
        return Encode(config, self.tokenizer, labels, clips=self.clips)

    def encode_with_targets(self, source: Source) -> Encode:
        """What encodes the examples of `source` for a loss: with negatives of it if need be."""
        model = self.experiment.model
        matching = None if isinstance(model, Tagger | LanguageModel) else model.matching
        if matching is None:
            return self.encode
        negatives = Negatives(matching.negative, source, self.experiment.train.seed)
        return replace(self.encode, negatives=negatives)

    @property
    def silent_ids(self) -> tuple[int, ...]:
        """Ids of the model's vocabulary that stand for no text; none without sentences."""
        model, tokenizer = self.experiment.model, self.tokenizer
        if tokenizer is None or isinstance(model, Tagger):
            return ()
        return tokenizer.silent_ids(model.vocab_size)

    @property
    def hears_singly(self) -> bool:
        """Whether decoding encodes one row after the other: long clips on a lone CPU, whose caches
        do not hold a batch of them. (ADIFF's mappers would read their weights for every row.)"""
        alone = [device.platform for device in self.mesh.devices.flat] == ["cpu"]
        return alone and isinstance(self.experiment.model, Cl4ac)

    def check_evaluation(self) -> None:
        """Raise ConfigError unless the mesh divides an evaluation batch and the strategy exists."""
        try:
            check_divides(self.experiment.evaluation.batch, self.mesh)
        except ValueError as error:
            raise ConfigError(f"evaluation.batch: {error}") from error
        try:
            parse_strategy(self.experiment.evaluation.decode)
        except ValueError as error:
            raise ConfigError(f"evaluation.decode: {error}") from error

    def rows(self, source: Source, targets: bool = False) -> Iterator[Arrays]:
        """Evaluation batches of this process.

        Captions are encoded only where a loss wants them as `targets`: references may be longer
        than anything that the model can say.
        """
        self.check_evaluation()
        return evaluation_batches(
            source,
            self.encode_with_targets(source) if targets else replace(self.encode, targets=False),
            self.experiment.evaluation.batch,
            jax.process_index(),
            jax.process_count(),
            self.experiment.data.loader,
        )

    def to_batch(self, arrays: Arrays) -> Batch:
        """This process's rows as a global batch on the mesh."""
        return Batch(**put_batch(arrays, self.mesh))

    def decoder(
        self, variables: Variables, strategy: Strategy
    ) -> Callable[[Arrays], list[Generated]]:
        """A function from a loader batch to the best sentence of each of this process's rows."""
        tokenizer, key = self.tokenizer, jax.random.key(self.experiment.evaluation.seed)
        if tokenizer is None:
            raise ConfigError("a tagger generates no sentences")

        def decode(arrays: Arrays) -> list[Generated]:
            found = generate(
                self.objective.module,
                variables,
                self.to_batch(arrays),
                strategy,
                max_tokens=self.experiment.data.encode.max_tokens,
                rooms=self.experiment.data.encode.buckets,
                stop_ids=self.encode.stop_ids,
                silent_ids=self.silent_ids,
                hear_singly=self.hears_singly,
                key=key,
            )
            tokens, mask, logprob = (
                local_rows(x[:, 0], self.mesh) for x in (found.tokens, found.mask, found.logprob)
            )
            kept = [row[of].tolist() for row, of in zip(tokens, mask, strict=True)]
            return [
                Generated(tuple(row), tokenizer.decode(row), float(score))
                for row, score in zip(kept, logprob, strict=True)
            ]

        return decode


def assemble(experiment: Experiment, train_source: Source, tokenizer: Tokenizer | None) -> Parts:
    """The parts of an experiment; its tokenizer is built from the training texts unless given.

    Raises ConfigError when vocabulary or classes do not fit the configuration, ValueError for a
    training caption that is too long. Words that `Words.min_count` leaves out are said on stderr.
    """
    mesh = make_mesh(experiment.mesh)
    match experiment.model:
        case Tagger(classes=classes):
            if not isinstance(train_source, Labelled):
                kind = type(experiment.data.train).__name__
                raise ConfigError(
                    f"data.train is {kind}: a tagger trains on LabelledMixes or LabelledClips"
                )
            names = train_source.classes
            if len(names) != classes:
                raise ConfigError(
                    f"model.classes is {classes}, but the training source has {len(names)} "
                    f"classes: {', '.join(names)}"
                )
            return Parts(experiment, mesh, None, names)
        case _:
            texts = list(train_source.texts())
            if not texts:
                kind = type(experiment.data.train).__name__
                raise ConfigError(f"data.train is {kind}, which has no captions to train on")
            if tokenizer is None:
                asked = [text for texts_of in PARAPHRASES.values() for text in texts_of]
                known = texts + asked if experiment.data.encode.prompt_tokens else texts
                tokenizer = build_tokenizer(experiment.data.tokenizer, known)
            check_lengths(experiment.data.encode, tokenizer, texts)
            _check_words(experiment.data.tokenizer, tokenizer, texts)
            return Parts(experiment, mesh, tokenizer)


def training_order(parts: Parts, source: Source) -> RowOrder | BucketOrder:
    """In which order training reads the rows of `source`.

    With `data.encode.buckets` every caption is read once, to see how long it is. Raises ValueError
    for a bucket that does not fill a batch, ConfigError for buckets of a model without captions.
    """
    config, encode = parts.experiment.train, parts.experiment.data.encode
    if not encode.buckets:
        return RowOrder(len(source), config.seed)
    if parts.tokenizer is None:
        raise ConfigError("data.encode.buckets: a tagger reads no captions; leave them out")
    progress = partial(tqdm, desc="caption lengths", unit="row", disable=None)
    lengths = caption_lengths(source, encode, parts.tokenizer, progress)
    return BucketOrder(encode.buckets, lengths, config.global_batch, config.seed)


def _check_words(config: TokenizerConfig, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
    """Training captions must have words of the vocabulary, unless it was told to drop some."""
    gaps = vocabulary_gaps(tokenizer, texts)
    if gaps and isinstance(config, Words) and config.min_count > 1:
        note(f"data.tokenizer.min_count is {config.min_count}: {gaps_in_words(gaps)}")
    elif gaps:
        raise ConfigError(
            f"data.train: {gaps_in_words(gaps)}. The captions have changed since this run's "
            "tokenizer was made: restore them, or train anew in another directory"
        )


def note_unsayable(tokenizer: Tokenizer, name: str, references: Iterable[str]) -> None:
    """Say once how many words of a split's references the model cannot say; no error, as test
    references may be worded otherwise on purpose."""
    if gaps := vocabulary_gaps(tokenizer, references):
        note(f"{name}, references: {gaps_in_words(gaps)}")


def note(text: str) -> None:
    """One line on stderr, from the first process only."""
    if jax.process_index() == 0:
        tqdm.write(f"note: {text}", file=sys.stderr)


def abstract_variables(parts: Parts, train_source: Source) -> Variables:
    """The variables of a model as shapes, placed whole on every device; one example is read."""
    row = load_row(train_source, parts.encode_with_targets(train_source), 0, draw=0)
    batch = Batch(**{name: np.asarray(value)[None] for name, value in row.items()})
    everywhere = replicated(parts.mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere),
        jax.eval_shape(parts.objective.init, jax.random.key(0), batch),
    )


def check_optimizer(experiment: Experiment, params: Mapping[str, Any]) -> None:
    """Raise ConfigError when `optimizer.freeze` alone freezes a whole encoder or language model.

    It would still drop out, and normalise by the statistics of its batches. Raises ValueError for
    patterns of the optimizer that match nothing, or freeze everything.
    """
    model, optimizer = experiment.model, experiment.train.optimizer
    check_patterns(optimizer, params)
    match model:
        case Adc(freeze_encoder=held) | Cl4ac(freeze_encoder=held):
            wholes = [("encoder", held, "set model.freeze_encoder to True instead")]
        case Adiff(freeze_encoder=held, freeze_lm=lm_held):
            wholes = [
                ("clips", held, "set model.freeze_encoder to True instead"),
                ("lm", lm_held, "set model.freeze_lm to True instead"),
            ]
        case LanguageModel():
            wholes = []
        case Tagger():
            wholes = [("encoder", False, "a tagger trains its encoder, leave a part of it out")]
    for name, held, way_out in wholes:
        whole = {name: params[name]} if name in params else {}
        if whole and not held and not jax.tree.leaves(trainable(optimizer, whole)):
            raise ConfigError(
                f"train.optimizer.freeze holds every parameter of {name}, which would still drop "
                f"out and normalise by its batches: {way_out}"
            )
