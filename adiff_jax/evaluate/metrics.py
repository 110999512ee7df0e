"""BLEU, ROUGE-L and CIDEr-D on tokens, in plain Python.

The definitions of the COCO caption evaluation, number for number: BLEU-1..4 (Papineni et al. 2002)
over the corpus with the closest reference length, ROUGE-L (Lin 2004) with beta = 1.2 from the best
precision and the best recall over the references, and CIDEr-D (Vedantam et al. 2015) with document
frequencies from the references of the corpus being scored. All take one hypothesis and one or more
references per example, each a sequence of tokens, and return scores as fractions (CIDEr-D: of 10).
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np

Tokens = Sequence[str]
NGram = tuple[str, ...]

ORDERS = 4
ROUGE_BETA = 1.2
CIDER_SIGMA = 6.0
# The constants that keep the reference implementation of BLEU from dividing by zero.
BLEU_TINY, BLEU_SMALL = 1e-15, 1e-9


def ngrams(tokens: Tokens) -> Counter[NGram]:
    """How often each run of one to four tokens occurs."""
    tokens = tuple(tokens)
    return Counter(
        tokens[start : start + order]
        for order in range(1, ORDERS + 1)
        for start in range(len(tokens) - order + 1)
    )


def bleu(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """BLEU-1 to BLEU-4 of the corpus."""
    _check(hypotheses, references)
    guessed, correct = [0] * ORDERS, [0] * ORDERS
    length = reference_length = 0
    for hypothesis, choices in zip(hypotheses, references, strict=True):
        counts = [ngrams(choice) for choice in choices]
        for ngram, count in ngrams(hypothesis).items():
            correct[len(ngram) - 1] += min(count, max(other[ngram] for other in counts))
        for order in range(ORDERS):
            guessed[order] += max(0, len(hypothesis) - order)
        length += len(hypothesis)
        # The shorter of two equally close references.
        reference_length += min((abs(len(c) - len(hypothesis)), len(c)) for c in choices)[1]
    ratio = (length + BLEU_TINY) / (reference_length + BLEU_SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for order in range(ORDERS):
        product *= (correct[order] + BLEU_TINY) / (guessed[order] + BLEU_SMALL)
        scores.append(product ** (1 / (order + 1)) * brevity)
    return scores


def rouge_l(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """ROUGE-L of every example, [n]; the corpus score is their mean."""
    _check(hypotheses, references)
    return np.array(
        [
            _rouge_l(hypothesis, choices)
            for hypothesis, choices in zip(hypotheses, references, strict=True)
        ]
    )


def cider_d(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """CIDEr-D of every example, [n], 0 to 10; the corpus score is their mean."""
    _check(hypotheses, references)
    counts = [[ngrams(choice) for choice in choices] for choices in references]
    frequency = Counter(
        chain.from_iterable(set(chain.from_iterable(choices)) for choices in counts)
    )
    log_documents = math.log(len(references))
    weigh = {ngram: log_documents - math.log(count) for ngram, count in frequency.items()}

    def vector(grams: Counter[NGram]) -> tuple[dict[NGram, float], list[float], int]:
        """Weights by n-gram, the norm of each order, and the length in bigrams."""
        weights = {gram: count * weigh.get(gram, log_documents) for gram, count in grams.items()}
        squares = [0.0] * ORDERS
        for gram, weight in weights.items():
            squares[len(gram) - 1] += weight * weight
        length = sum(count for gram, count in grams.items() if len(gram) == 2)
        return weights, [math.sqrt(square) for square in squares], length

    scores = []
    for hypothesis, choices in zip(hypotheses, counts, strict=True):
        said, said_norm, said_length = vector(ngrams(hypothesis))
        total = 0.0
        for choice in choices:
            meant, meant_norm, meant_length = vector(choice)
            dot = [0.0] * ORDERS
            for gram, weight in said.items():
                other = meant.get(gram, 0.0)
                dot[len(gram) - 1] += min(weight, other) * other
            similar = sum(
                product / (a * b) if a and b else product
                for product, a, b in zip(dot, said_norm, meant_norm, strict=True)
            )
            total += similar * math.exp(-((said_length - meant_length) ** 2) / (2 * CIDER_SIGMA**2))
        scores.append(10 * total / ORDERS / len(choices))
    return np.array(scores)


def _rouge_l(hypothesis: Tokens, references: Sequence[Tokens]) -> float:
    hypothesis = tuple(hypothesis) or ("",)  # An empty sentence is one empty word there.
    precision = recall = 0.0
    for reference in references:
        words = tuple(reference) or ("",)
        common = _longest_common_subsequence(hypothesis, words)
        precision = max(precision, common / len(hypothesis))
        recall = max(recall, common / len(words))
    if precision == 0.0 or recall == 0.0:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def _longest_common_subsequence(a: Tokens, b: Tokens) -> int:
    """Its length, by the bit-parallel recurrence of Hyyro (2004): one big integer holds a row."""
    places: dict[str, int] = {}
    for place, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << place
    everything = (1 << len(a)) - 1
    row = everything
    for token in b:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & everything
    return len(a) - row.bit_count()


def _check(hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> None:
    if len(hypotheses) != len(references) or not hypotheses:
        raise ValueError(
            f"{len(hypotheses)} hypotheses and {len(references)} sets of references: "
            "there must be one set for each, and at least one"
        )
    if not all(references):
        raise ValueError(f"example {[bool(r) for r in references].index(False)} has no reference")
