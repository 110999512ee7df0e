"""Whether an answer has the form of an explanation. Nothing is mended: what fails is asked again.

The rules were set so that, of the published explanations, nearly all pass (a test counts them), and
what language models are known to add does not.
"""

import re

_FIRST = re.compile(r"\b(first|former|(audio|clip|recording|sound)s? *\(?(1|one|a)\b)", re.I)
_SECOND = re.compile(
    r"\b(second|latter|other|(audio|clip|recording|sound)s? *\(?(2|two|b)\b)", re.I
)
_NOT_ALLOWED = (
    (re.compile("[\x00-\x08\x0e-\x1b\x7f\ud800-\udfff]"), "holds characters that are no text"),
    (re.compile(r"<[/|]?\w+[|]?>"), "holds tags, such as those of a model that thinks aloud"),
    (re.compile(r"\*\*|__|`|^\s*#|^\s*[-*•]\s|^\s*\d+[.)]\s|\|\s*-{2,}", re.M), "holds markup"),
    (re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]"), "has several lines"),
    (re.compile(r"\A[\"'“‘].*[\"'”’]\Z", re.S), "is in quotation marks"),
    (
        re.compile(
            r"\A((sure|certainly|of course|okay|ok|absolutely|great|(final )?answer|explanation|"
            r"difference|tier \d|note)\s*[:,!.–—-]|here('s|’s| is| are)\b|below is\b)",
            re.I,
        ),
        "talks about the answer before giving it",
    ),
    (
        re.compile(
            r"\A(i('m| am|’m) (sorry|unable|not able)|sorry\b|unfortunately\b|"
            r"i (can('|’)?t|cannot|can not|don('|’)t have)\b)|\bas an ai\b|\blanguage model\b",
            re.I,
        ),
        "refuses, or speaks of being a language model",
    ),
    (
        re.compile(
            r"\b(captions?\b|(the|given|provided|text) descriptions?\b|hope this|let me know|"
            r"word count)",
            re.I,
        ),
        "speaks of the task instead of the sounds",
    ),
)
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*\s+(?=[A-Z\"“(])")
_AN_END = re.compile(r"[.!?][\"'”’)]*\Z")


def problem(text: str, tier: int, words: tuple[int, int]) -> str:
    """What keeps `text` from being an explanation of `tier` with fewest and most `words`, as a
    phrase that follows "it"; "" when nothing does."""
    stripped = text.strip()
    if not stripped:
        return "is empty"
    for pattern, fault in _NOT_ALLOWED:
        if pattern.search(stripped):
            return fault
    count, (fewest, most) = len(stripped.split()), words
    if not fewest <= count <= most:
        return f"has {count} words instead of {fewest} to {most}"
    for pattern, which in ((_FIRST, "first"), (_SECOND, "second")):
        if not pattern.search(stripped):
            return f"does not name the {which} audio as such"
    if tier == 2 and _SENTENCE_END.search(stripped):
        return "has more than one sentence"
    return "" if _AN_END.search(stripped) else "does not end like a sentence"
