"""The instructions that a language model is given, read from one TOML file.

The shipped ones are in `prompts.toml` beside this file; a copy of it, changed, takes their place.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from etils import epath

from adiff_jax.text_files import read_text

TIERS = (1, 2, 3)
SHIPPED = Path(__file__).with_name("prompts.toml")


@dataclass(frozen=True)
class TierPrompt:
    """How a tier is asked for, and the fewest and most words that its answer may have."""

    prompt: str
    words: tuple[int, int]


@dataclass(frozen=True)
class Prompts:
    """The instructions of one file: for all answers, for an answer that could not be used, and of
    tier 1, 2, 3 in this order."""

    system: str
    correction: str
    tiers: tuple[TierPrompt, TierPrompt, TierPrompt]

    def ask(self, tier: int, captions: tuple[str, str]) -> str:
        """The prompt of `tier` about two captions; a placeholder within a caption stays."""
        filling = {"caption1": captions[0], "caption2": captions[1]}
        return _filled(self.tiers[tier - 1].prompt, filling)

    def correct(self, reason: str) -> str:
        """What is said to an answer that, as `reason` goes, "is empty" or "has 9 words"."""
        return _filled(self.correction, {"reason": reason})


def read_prompts(path: epath.PathLike = SHIPPED) -> Prompts:
    """The instructions in a TOML file. Raises ValueError that names the field at fault."""
    try:
        given = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    wanted = ["system", "correction", *(f"tier_{tier}" for tier in TIERS)]
    if unknown := sorted(set(given) - set(wanted)):
        raise ValueError(f"{path}: {', '.join(unknown)} is not one of {', '.join(wanted)}")
    one, two, three = (_tier(path, given, f"tier_{tier}") for tier in TIERS)
    return Prompts(
        system=_text(path, given, "system", set()),
        correction=_text(path, given, "correction", {"reason"}),
        tiers=(one, two, three),
    )


def _tier(path: epath.PathLike, given: dict, name: str) -> TierPrompt:
    fields = given.get(name)
    if not isinstance(fields, dict) or set(fields) != {"prompt", "words"}:
        raise ValueError(f"{path}: [{name}] needs the fields prompt and words, and no other")
    words = fields["words"]
    numbers = isinstance(words, list) and [type(number) for number in words] == [int, int]
    if not numbers or not 0 < words[0] <= words[1]:
        raise ValueError(f"{path}: words of [{name}] is {words}; give two numbers, as [10, 50]")
    prompt = _text(path, fields, "prompt", {"caption1", "caption2"}, f" of [{name}]")
    return TierPrompt(prompt, (words[0], words[1]))


def _text(
    path: epath.PathLike, given: dict, name: str, placeholders: set[str], where: str = ""
) -> str:
    text = given.get(name)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{path}: {name}{where} is missing or no text")
    found = set(re.findall(r"\{(\w+)\}", text))
    if found != placeholders:
        needed = " and ".join(f"{{{one}}}" for one in sorted(placeholders)) or "no placeholder"
        raise ValueError(f"{path}: {name}{where} needs {needed}, and has {sorted(found) or 'none'}")
    return text.strip()


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], text)
