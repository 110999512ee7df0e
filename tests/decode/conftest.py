"""Programs here are compiled without optimising, which takes longer than running them."""

from collections.abc import Iterator

import pytest

from tests.quick import options


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with options(jax_disable_most_optimizations=True):
        yield
