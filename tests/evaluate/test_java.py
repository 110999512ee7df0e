"""METEOR through Java, with the number that the reference gives."""

import pytest

from adiff_jax.evaluate.java import java_missing, meteor


@pytest.mark.skipif(java_missing() is not None, reason=java_missing() or "")
def test_meteor_counts_matches_and_gives_nothing_for_an_empty_sentence():
    hypotheses = ["", "the dog barks", "rain gets louder", "||| a"]
    references = [["the dog barks"], ["the dog barks", "a dog"], ["rain gets louder"], ["x y"]]
    # Computed once with pycocoevalcap 1.2 alone.
    assert meteor(hypotheses, references) == pytest.approx(0.5882352941176471, abs=1e-12)
    # The process is kept: a second corpus must not see the first.
    assert meteor(["the dog barks"], [["the dog barks"]]) == pytest.approx(1.0)
    assert meteor(["a horn"], [["the dog barks"]]) == 0.0
