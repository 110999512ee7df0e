"""Small libraries for the tests of the synthesiser."""

import pytest

from adiff_jax.data.synth.library import Library, Procedural, open_library

RATE = 8_000


@pytest.fixture(scope="session")
def library() -> Library:
    """Three made recordings of each of eight classes, at 8 kHz."""
    return open_library(Procedural(recordings_per_class=3), RATE)
