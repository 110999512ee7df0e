"""`adiff data explain-pairs`: its arguments, what it does, what it prints."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adiff_jax.data.writing.answers import Writer
    from adiff_jax.data.writing.prompts import Prompts

_DEFAULTS = {"parallel": 4, "timeout": 120.0, "attempts": 4}
_CHAT_ONLY = (
    *("endpoint", "model", "prompts", "body", "key_variable", "requests_per_minute"),
    *_DEFAULTS,
)
_PATIENCE = 20


def add(actions: Any) -> None:
    """Add the action to the subparsers of `adiff data`."""
    summary = "pair captioned clips and have explanations of the pairs written, in three tiers"
    parser = actions.add_parser(
        "explain-pairs",
        help=summary,
        description=f"{summary}. An interrupted run goes on where it stopped.",
        epilog="Examples:\n"
        "  adiff data explain-pairs captions.csv out --template\n"
        "  adiff data explain-pairs captions.csv out --endpoint http://localhost:8000/v1 "
        "--model NAME --parallel 8",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=explain_pairs)
    parser.add_argument(
        "captions", help="CSV: file_name and caption_1 ...; youtube_id and caption; file, caption"
    )
    parser.add_argument("out", help="folder of the tables, and of every answer")
    parser.add_argument("--seed", type=int, default=0, help="draws the second clips (default 0)")
    parser.add_argument("--name", help="names the tables (default: that of the CSV file)")
    parser.add_argument(
        "--folder", default="", help="put before file names, such as ClothoV21/development"
    )
    parser.add_argument("--limit", type=int, help="only the first so many pairs, to try it out")
    parser.add_argument("--template", action="store_true", help="write by rule, offline")
    chat = parser.add_argument_group("asking a text model")
    chat.add_argument("--endpoint", help="of OpenAI's protocol, such as http://localhost:8000/v1")
    chat.add_argument("--model", help="the model's name there")
    chat.add_argument("--prompts", help="instructions (TOML; default: our own)")
    chat.add_argument("--body", type=_json, help='added to requests, such as {"temperature": 0.7}')
    chat.add_argument(
        "--api-key-env",
        dest="key_variable",
        metavar="NAME",
        help="the environment variable that holds the key (default OPENAI_API_KEY)",
    )
    chat.add_argument("--requests-per-minute", type=float, help="at most so many (default: any)")
    chat.add_argument("--parallel", type=int, help="requests at a time (default 4)")
    chat.add_argument("--timeout", type=float, help="of a request, s (default 120)")
    chat.add_argument("--attempts", type=int, help="asking for one text in good form (default 4)")


def explain_pairs(options: argparse.Namespace, rest: list[str]) -> None:
    """Write the three tiers of every pair; exit with 1 when pairs are missing at the end."""
    from tqdm import tqdm

    from adiff_jax.data.writing.answers import Answers
    from adiff_jax.data.writing.pairs import digest, draw_pairs, read_captions
    from adiff_jax.data.writing.prompts import read_prompts
    from adiff_jax.data.writing.write import Asking, write_explanations

    _check(options)
    clips = read_captions(options.captions, options.folder)
    pairs = draw_pairs(clips, options.seed)
    prompts = read_prompts(*[options.prompts] if options.prompts else [])
    writer = _writer(options, prompts)
    name = options.name or Path(options.captions).stem
    about = {
        "writer": "template" if options.template else "chat",
        "model": options.model,
        "seed": options.seed,
        "name": name,
        "captions": digest(clips),
        "pairs": digest(pairs),
        "prompts": vars(prompts) | {"tiers": [vars(tier) for tier in prompts.tiers]},
        "body": options.body,
    }
    asking = Asking(
        1 if options.template else options.attempts,
        1 if options.template else options.parallel,
        None if options.template else _PATIENCE,
    )
    wanted = pairs[: options.limit]
    with Answers(options.out, about) as answers, tqdm(unit="text") as bar:

        def progress(done: int, total: int) -> None:
            if bar.total is None:  # what is there already is no part of the rate
                bar.reset(total)
                bar.initial = bar.n = done
            bar.update(done - bar.n)

        out = Path(options.out)
        summary = write_explanations(wanted, writer, answers, out, name, prompts, asking, progress)
    print(summary)
    sys.exit(0 if summary.complete == summary.pairs else 1)


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together; fill in what is left out."""
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit is {options.limit}: say at least 1")
    if options.seed < 0:
        raise ValueError(f"--seed is {options.seed}: say 0 or more")
    if not options.template and not (options.endpoint and options.model):
        raise ValueError("say who writes: --endpoint URL and --model NAME, or --template")
    if options.template:
        if given := [name for name in _CHAT_ONLY if getattr(options, name) is not None]:
            flags = {"key_variable": "api-key-env"}
            named = ", ".join("--" + flags.get(name, name.replace("_", "-")) for name in given)
            raise ValueError(f"--template asks no model: leave out {named}")
    if options.name is not None and Path(options.name).name != options.name:
        raise ValueError(f"--name is {options.name!r}: it is a part of file names, no path")
    for name, value in _DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def _writer(options: argparse.Namespace, prompts: "Prompts") -> "Writer":
    if options.template:
        from adiff_jax.data.writing.template import TemplateWriter

        return TemplateWriter(options.seed, prompts)
    from adiff_jax.data.writing.client import KEY_VARIABLE, Chat, ChatWriter

    chat = Chat(
        endpoint=options.endpoint,
        model=options.model,
        body=options.body or {},
        key_variable=options.key_variable or KEY_VARIABLE,
        timeout=options.timeout,
        requests_per_minute=options.requests_per_minute,
    )
    return ChatWriter(chat, prompts)


def _json(text: str) -> dict[str, Any]:
    """A JSON object given on the command line."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text} is no JSON object, such as {{"top_p": 0.9}}')
    return value
