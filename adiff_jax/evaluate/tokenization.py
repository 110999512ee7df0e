"""Sentences into the words that caption metrics count.

"ptb" is the Penn Treebank tokeniser of Stanford CoreNLP 3.4.1 in lower case with punctuation
removed, as in the COCO caption evaluation; it needs Java and pycocoevalcap. "plain" is the regular
expression below: equal to "ptb" on plain English sentences, without its rarer rules (brackets,
currency, abbreviations with points, "gonna", slashes). Scores under the two are not comparable
where they differ, so the tokenisation is written beside the scores.
"""

import re
import subprocess
from collections.abc import Iterable
from typing import Literal

from adiff_jax.evaluate.java import package_directory

Tokenization = Literal["ptb", "plain"]

PUNCTUATION = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
"""Tokens that the COCO evaluation drops. It spells brackets in capitals although tokens are in
lower case, so that "-lrb-" stays: its quirk, kept for equal scores."""

_WORD = re.compile(
    r"""
    \d+(?:[.,:]\d+)+                        # 3.5  1,000  10:30
    | cannot(?!\w) | [^\W_]+(?=n't(?!\w))   # can not; do of don't
    | n't(?!\w) | '(?:s|re|ve|ll|d|m)(?!\w) # clitics are words of their own
    | [^\W_]+(?:-[^\W_]+)*                  # hyphenated words stay whole
    | [%&$\#@+=*]                           # signs that count as words
    """,
    re.VERBOSE,
)


def tokenize(texts: Iterable[str], tokenization: Tokenization) -> list[list[str]]:
    """Words of each text, in lower case and without punctuation.

    Raises RuntimeError when Java fails under "ptb".
    """
    return _ptb(list(texts)) if tokenization == "ptb" else [_plain(text) for text in texts]


def _plain(text: str) -> list[str]:
    words: list[str] = []
    for word in _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")):
        words += ["can", "not"] if word == "cannot" else [word]
    return words


def _ptb(texts: list[str]) -> list[list[str]]:
    # One text a line: whatever breaks a line for Java or Python becomes a space first.
    lines = "\n".join(" ".join(text.split()) for text in texts) + "\n"
    jar = package_directory() / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    tokenizer = "edu.stanford.nlp.process.PTBTokenizer"
    done = subprocess.run(
        ["java", "-cp", str(jar), tokenizer, "-preserveLines", "-lowerCase", "-encoding", "UTF-8"],
        input=lines.encode(),
        capture_output=True,
    )
    words = done.stdout.decode().split("\n")[:-1]
    if done.returncode != 0 or len(words) != len(texts):
        raise RuntimeError(
            f"the Java tokeniser gave {len(words)} lines for {len(texts)} texts (exit code "
            f"{done.returncode}): {done.stderr.decode(errors='replace').strip()[-500:]}"
        )
    return [[word for word in line.split() if word not in PUNCTUATION] for line in words]
