"""One compile cache for these tests: they train the same few programs again and again."""

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

OPTIONS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the cache."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(autouse=True)
def compile_cache(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The cache, here and in the processes that a test starts."""
    options = OPTIONS | {"jax_compilation_cache_dir": str(compiled)}
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
        monkeypatch.setitem(os.environ, name.upper(), str(value))
    yield
    for name, value in before.items():
        jax.config.update(name, value)
