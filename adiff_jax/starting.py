"""What a training starts from: other runs, or vectors of the words; and what a run has kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from adiff_jax.checkpoint.checkpoints import CheckpointError, Checkpoints
from adiff_jax.checkpoint.keep import Keep
from adiff_jax.checkpoint.run_directory import RunDirectory
from adiff_jax.data.schema import Source
from adiff_jax.data.tokenizers import Tokenizer, load_tokenizer
from adiff_jax.experiment import ConfigError, Experiment, StartFrom
from adiff_jax.experiment_json import from_json
from adiff_jax.models.adc import Adc
from adiff_jax.models.adiff import Adiff
from adiff_jax.models.cl4ac import Cl4ac
from adiff_jax.models.cnn10 import Cnn10
from adiff_jax.models.language_model import LanguageModel
from adiff_jax.models.tagger import Tagger
from adiff_jax.parts import Parts, note
from adiff_jax.protocol import Variables
from adiff_jax.train.state import overlay
from adiff_jax.word_vectors import overlay_vectors, train_vectors


def starting_from(experiment: Experiment, runs: Sequence[str]) -> Experiment:
    """The experiment with everything that fits taken from other runs, each by what it trained.

    A tagger gives ADIFF its clip encoder (and head), a language model its language model, a run of
    the same kind of model all its parameters. A Cnn10 of another frontend gives its blocks, but not
    what normalises the log-mel. Raises ConfigError for a run that has nothing to give.
    """
    starts = []
    subtrees: tuple[tuple[str, str], ...]
    for path in runs:
        there = from_json(RunDirectory.at(path).read_experiment()).model
        match there, experiment.model:
            case Tagger(), Adiff():
                subtrees = (("", "clips"),)
            case LanguageModel(), Adiff():
                subtrees = (("lm", "lm"),)
            case Tagger(encoder=Cnn10() as heard), Cl4ac(encoder=Cnn10() as hears) if (
                heard.frontend != hears.frontend
            ):
                subtrees = _blocks(hears)
            case Tagger(), Adc() | Cl4ac():
                subtrees = (("encoder", "encoder"),)
            case (
                (Adiff(), Adiff())
                | (Adc(), Adc())
                | (Cl4ac(), Cl4ac())
                | (Tagger(), Tagger())
                | (LanguageModel(), LanguageModel())
            ):
                subtrees = (("", ""),)
            case _:
                raise ConfigError(
                    f"--init {path}: it trained {type(there).__name__}, which gives nothing to "
                    f"{type(experiment.model).__name__}; say in `start` of the config what to take"
                )
        starts.append(StartFrom(path, subtrees))
    return replace(experiment, start=(*experiment.start, *starts))


def _blocks(encoder: Cnn10) -> tuple[tuple[str, str], ...]:
    places = [
        f"encoder/{kind}_{block}_{half}"
        for block in range(1, len(encoder.filters) + 1)
        for half in (1, 2)
        for kind in ("conv", "norm")
    ]
    return tuple((place, place) for place in places)


def check_starts(experiment: Experiment) -> None:
    """Raise ConfigError when ADIFF starts from an ADIFF of another `compat`."""
    for start in experiment.start:
        match experiment.model, from_json(RunDirectory.at(start.run).read_experiment()).model:
            case Adiff(compat=here), Adiff(compat=there) if here != there:
                raise ConfigError(
                    f"{start.run} was trained with compat={there!r}, but model.compat is {here!r}: "
                    "set model.compat and data.encode.compat to that"
                )


def given_tokenizer(starts: tuple[StartFrom, ...]) -> Tokenizer | None:
    """The tokenizer of the run that gives a language model, whose embeddings are of its ids."""
    for start in starts:
        run = RunDirectory.at(start.run)
        if any(here in ("", "lm") for _, here in start.subtrees) and run.tokenizer.exists():
            return load_tokenizer(run.path)
    return None


def given_classes(starts: tuple[StartFrom, ...]) -> tuple[str, ...]:
    """The classes of the run that gives a tagging head; none without one."""
    for start in starts:
        run = RunDirectory.at(start.run)
        if any(here in ("", "clips") for _, here in start.subtrees) and run.classes.exists():
            return run.read_classes()
    return ()


def pretrained(starts: tuple[StartFrom, ...]) -> Callable[[Variables], Variables]:
    """Fresh variables -> the same with subtrees of other runs laid over them."""

    said: set[str] = set()  # shapes are laid over before values are

    def lay_over(variables: Variables) -> Variables:
        for start in starts:
            _, source, _ = restore(RunDirectory.at(start.run))
            if start.grow_channels:
                source = grown(source, variables, start.subtrees)
            subtrees = _without_head(start.subtrees, source, variables)
            if subtrees != start.subtrees and start.run not in said:
                said.add(start.run)
                note(
                    f"{start.run}: only one of the two runs has a matching head, which is not taken"
                )
            variables = overlay(variables, source, subtrees)
        return variables

    return lay_over


def _without_head(
    subtrees: tuple[tuple[str, str], ...], source: Variables, target: Variables
) -> tuple[tuple[str, str], ...]:
    """`subtrees`, where that is everything, without a matching head that only one side has."""
    ours, theirs = ({*side["params"]} for side in (target, source))
    if subtrees != (("", ""),) or "matching" not in ours ^ theirs:
        return subtrees
    return tuple((name, name) for name in sorted((ours | theirs) - {"matching"}))


def grown(source: Variables, target: Variables, subtrees: tuple[tuple[str, str], ...]) -> Variables:
    """`source` with zero input channels appended to convolution kernels that have too few."""

    def at(tree: Any, path: tuple[str, ...]) -> Any:
        for name in path:
            tree = tree[name] if isinstance(tree, Mapping) and name in tree else None
        return tree

    def names(path: str) -> tuple[str, ...]:
        return tuple(name for name in path.split("/") if name)

    moved = [(names(there), names(here)) for there, here in subtrees]

    def grow(path: tuple[Any, ...], leaf: np.ndarray) -> np.ndarray:
        place = tuple(str(entry.key) for entry in path)
        for below, onto in moved:
            wanted = at(target["params"], (*onto, *place[len(below) :]))
            if (
                place[: len(below)] == below
                and wanted is not None
                and leaf.ndim == wanted.ndim == 4
            ):
                missing = wanted.shape[2] - leaf.shape[2]
                if missing > 0:
                    return np.pad(leaf, ((0, 0), (0, 0), (0, missing), (0, 0)))
        return leaf

    return {**source, "params": jax.tree_util.tree_map_with_path(grow, source["params"])}


def restore(run: RunDirectory) -> tuple[Experiment, Variables, int]:
    """Experiment, best weights (numpy) and their step of a run directory.

    "Best" is by `train.best_metric`; without one, the newest.
    """
    experiment = from_json(run.read_experiment())
    keep = Keep(
        experiment.train.keep_last, experiment.train.best_metric, experiment.train.best_mode
    )
    checkpoints = Checkpoints(run.checkpoints, keep, read_only=True)
    step = checkpoints.best_step() or checkpoints.latest_step()
    if step is None:
        raise CheckpointError(
            f"{run.path} has no finished checkpoint yet: train it first (adiff train ... --workdir)"
        )
    variables = checkpoints.restore_variables(step)
    checkpoints.close()
    return experiment, variables, step


def with_vectors(
    experiment: Experiment,
    parts: Parts,
    source: Source,
    before: Callable[[Variables], Variables] | None,
) -> Callable[[Variables], Variables] | None:
    """`before`, and after it, if the experiment wants them, the vectors of the training captions
    over the decoder's embedding."""
    if experiment.word_vectors is None:
        return before
    if not isinstance(experiment.model, Adc | Cl4ac) or parts.tokenizer is None:
        raise ConfigError(
            f"word_vectors: {type(experiment.model).__name__} has no text decoder of its own; "
            "leave them out"
        )
    if any(here in ("", "decoder") for start in experiment.start for _, here in start.subtrees):
        note("word_vectors are left out: the run that training starts from gives the words")
        return before
    width = experiment.model.decoder.width
    vectors = train_vectors(source.texts(), parts.tokenizer, width, experiment.word_vectors)

    def lay_over(variables: Variables) -> Variables:
        return overlay_vectors(variables if before is None else before(variables), vectors)

    return lay_over
