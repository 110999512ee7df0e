"""BLEU, ROUGE-L and CIDEr-D equal the reference implementation on the same tokens."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adiff_jax.evaluate.metrics import bleu, cider_d, rouge_l

# Few words, so that n-grams repeat, and empty sentences.
SENTENCE = st.lists(st.sampled_from("a b c dog bark".split()), max_size=9)
FULL_SENTENCE = SENTENCE.filter(bool)
CORPUS = st.lists(
    st.tuples(SENTENCE, st.lists(FULL_SENTENCE, min_size=1, max_size=4)), min_size=1, max_size=6
)


def reference(name, hypotheses, references):
    """(corpus score or scores, per-example scores) of pycocoevalcap on the same tokens."""
    module = pytest.importorskip(f"pycocoevalcap.{name}.{name}")
    scorer = getattr(module, name.capitalize())()
    results = {i: [" ".join(words)] for i, words in enumerate(hypotheses)}
    truths = {i: [" ".join(words) for words in some] for i, some in enumerate(references)}
    if name == "bleu":
        return scorer.compute_score(truths, results, verbose=0)
    return scorer.compute_score(truths, results)


@settings(max_examples=150, deadline=None)
@given(CORPUS)
@example([(["a"], [["a"]])])
@example([([], [["a", "b"], ["c"]])])
def test_metrics_equal_the_reference_implementation(corpus):
    hypotheses, references = [list(column) for column in zip(*corpus, strict=True)]
    expected, _ = reference("bleu", hypotheses, references)
    np.testing.assert_allclose(bleu(hypotheses, references), expected, rtol=1e-12)
    _, expected = reference("rouge", hypotheses, references)
    np.testing.assert_allclose(rouge_l(hypotheses, references), expected, rtol=1e-12)
    _, expected = reference("cider", hypotheses, references)
    np.testing.assert_allclose(cider_d(hypotheses, references), expected, rtol=1e-12, atol=1e-14)


def test_metrics_equal_the_reference_implementation_on_a_thousand_examples():
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(80)])
    odds = 1 / np.arange(1, 81)

    def sentence():
        return list(rng.choice(words, rng.integers(1, 20), p=odds / odds.sum()))

    references = [[sentence() for _ in range(5)] for _ in range(1000)]
    hypotheses = [some[0][: rng.integers(1, 20)] + sentence() for some in references]
    np.testing.assert_allclose(
        bleu(hypotheses, references), reference("bleu", hypotheses, references)[0], rtol=1e-12
    )
    for name, ours in (("rouge", rouge_l), ("cider", cider_d)):
        expected = reference(name, hypotheses, references)[1]
        np.testing.assert_allclose(ours(hypotheses, references), expected, rtol=1e-12, atol=1e-14)


def test_an_exact_copy_of_the_only_reference_scores_full_marks():
    references = [[["add", "a", "dog", "bark", "now"]], [["the", "rain", "gets", "much", "louder"]]]
    hypotheses = [choices[0] for choices in references]
    np.testing.assert_allclose(bleu(hypotheses, references), [1] * 4, rtol=1e-8)
    np.testing.assert_allclose(rouge_l(hypotheses, references), [1, 1])
    np.testing.assert_allclose(cider_d(hypotheses, references), [10, 10])


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider_d])
def test_an_example_without_references_is_refused_by_its_place(metric):
    with pytest.raises(ValueError, match="example 1 has no reference"):
        metric([["a"], ["b"]], [[["a"]], []])
