"""The verb `explain`: one pair, or a table of pairs, and what the model makes of them."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adiff_jax.api import Explainer, Explanation
    from adiff_jax.models.adiff import AdiffModel

EXAMPLES = """Examples:
  adiff explain runs/demo before.wav after.wav --plot pair.png
  adiff explain runs/adiff a.wav b.wav --tier all
  adiff explain runs/adiff a.wav b.wav --caption both --windows
  adiff explain runs/adiff --pairs pairs.csv --out said.jsonl --tier 2    goes on where it stopped
  adiff explain runs/cl4ac_esc10 street.wav --plot street.png    a captioner hears one recording

pairs.csv has the columns first and second (paths, from the table's folder), and may have id; for a
captioner of single clips, first alone.

An event that the sentence names and the tags of neither clip support is warned of once
`adiff evaluate` has found, on pairs whose events are known, that at least 80% of such warnings
(20 or more) are right on this run."""

SHOWN_EVENTS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb."""
    parser.add_argument("run_directory")
    parser.add_argument("first", nargs="?", help="an audio file")
    parser.add_argument("second", nargs="?", help="an audio file; none for a captioner of clips")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--tier",
        choices=["1", "2", "3", "all"],
        help="ask for few words, a sentence, or detail (models that read prompts; default 1)",
    )
    asked.add_argument("--caption", choices=["first", "second", "both"], help="ask for captions")
    asked.add_argument("--prompt", help="ask in your own words")
    parser.add_argument(
        "--windows", action="store_true", help="hear all of recordings that are long"
    )
    parser.add_argument(
        "--decode", default="", help="greedy, greedy:repetition=1.2, beam:4, sample:0.8, ..."
    )
    parser.add_argument("--n-best", type=int, default=1, help="how many sentences (beam only)")
    parser.add_argument("--plot", metavar="PNG", help="spectrograms and attention as a picture")
    parser.add_argument(
        "--probe", action="store_true", help="the words nearest to what the language model is given"
    )
    parser.add_argument("--pairs", metavar="CSV", help="explain every pair (or clip) of a table")
    parser.add_argument("--out", metavar="JSONL", help="where the answers to --pairs go")


def explain(options: argparse.Namespace, rest: list[str]) -> None:
    """Say how two files differ, or what is heard in one; of all rows of a table if wanted."""
    from adiff_jax.api import load
    from adiff_jax.plots import check_png
    from adiff_jax.train.compilation import enable_compile_cache

    _check(options)
    if options.plot:
        check_png(options.plot)  # now, rather than after the model has answered
    enable_compile_cache()
    explainer = load(options.run_directory)
    if options.pairs:
        _table(explainer, options)
        return
    if options.probe:
        _prefix_model(explainer)  # now, rather than after the model has answered
    for tier in (1, 2, 3) if options.tier == "all" else (options.tier and int(options.tier),):
        said = _one(explainer, options, {**_asked(options), "tier": tier})
    for number, events in enumerate(said.events, start=1):
        shown = ", ".join(f"{name} {chance:.2f}" for name, chance in events[:SHOWN_EVENTS])
        print(f"events in clip {number}: {shown}", file=sys.stderr)
    if options.plot:
        _plot(explainer, options, said.text)
    if options.probe:
        _probe(explainer, options)


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for arguments that do not go together."""
    if options.prompt is not None and not options.prompt.strip():
        raise ValueError("--prompt is empty: ask something, or leave it out")
    if options.pairs:
        if options.first or not options.out:
            raise ValueError("--pairs CSV takes --out JSONL and no audio files beside it")
        if options.plot or options.probe or options.n_best != 1 or options.tier == "all":
            raise ValueError("--plot, --probe, --n-best and --tier all are for a single pair")
    elif options.first is None:
        raise ValueError("give the audio files, or a table of them with --pairs")
    elif options.out:
        raise ValueError("--out is where the answers to --pairs go; a single pair is printed")
    elif options.tier == "all" and (options.plot or options.probe):
        raise ValueError("--plot and --probe show one question: name the tier, not all of them")


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "caption": options.caption or "",
        "prompt": options.prompt or "",
        "decode": options.decode,
        "whole": options.windows,
    }


def _one(
    explainer: "Explainer", options: argparse.Namespace, asked: dict[str, Any]
) -> "Explanation":
    said = explainer(options.first, options.second, n_best=options.n_best, **asked)
    for note in said.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.tier == "all":
        print(f"{said.prompt}:")
    for text, score in said.n_best:
        print(f"{text}\t(log-probability {score:.2f})")
    if said.unsupported and explainer.warned:
        names = ", ".join(said.unsupported)
        print(
            f"warning: named, but in neither clip by its tags: {names} ({explainer.warned})",
            file=sys.stderr,
        )
    print(f"{said.seconds:.2f} s", file=sys.stderr)
    return said


def _plot(explainer: "Explainer", options: argparse.Namespace, text: str) -> None:
    from adiff_jax.plots import plot_clip, plot_pair

    clips = tuple(clip for clip in (options.first, options.second) if clip)
    waves = [
        explainer.wave(clip) if options.windows else explainer.heard(clip, number)
        for number, clip in enumerate(clips, start=1)
    ]
    if explainer.clips == 1:
        plot_clip(options.plot, waves[0], explainer.rate, text)
        print(f"picture: {options.plot}", file=sys.stderr)
        return
    framed = explainer.compares_frames
    plot_pair(
        options.plot,
        waves[0],
        waves[1],
        explainer.rate,
        explainer.attention(options.first, options.second) if framed else None,
        text,
        explainer.frame_seconds if framed else 0.0,
    )
    print(f"picture: {options.plot}", file=sys.stderr)


def _table(explainer: "Explainer", options: argparse.Namespace) -> None:
    from adiff_jax.explain_table import explain_table

    tier = options.tier and int(options.tier)
    done = explain_table(explainer, options.pairs, options.out, {**_asked(options), "tier": tier})
    print(f"{options.out}: {done}")
    sys.exit(1 if done.unusable else 0)


def _prefix_model(explainer: "Explainer") -> "AdiffModel":
    """The model, if it has a prefix; ValueError for another."""
    from adiff_jax.models.adiff import AdiffModel

    model = explainer.trained.parts.objective.module
    if not isinstance(model, AdiffModel):
        raise ValueError("--probe: only ADIFF gives its language model a prefix")
    return model


def _probe(explainer: "Explainer", options: argparse.Namespace) -> None:
    from adiff_jax.probing import probe

    tier = options.tier and int(options.tier)
    prompt = explainer.asked(tier, options.caption or "", options.prompt or "", options.windows)
    batch, _, _ = explainer.batch([(options.first, options.second)], prompt, options.windows)
    model, variables = _prefix_model(explainer), explainer.trained.variables
    for place, vector in enumerate(probe(model, variables, batch, explainer.tokenizer, 5)[0]):
        words = ", ".join(f"{word!r} {cosine:.2f}" for word, cosine in vector.words)
        print(f"{place:3d} {vector.part:9s} {words}")
