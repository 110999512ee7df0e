"""The machine that tests see: eight CPU devices, whatever accelerators there are.

Set before anything imports jax; processes that tests start inherit it.
"""

import os
from pathlib import Path

import pytest

DEVICES = 8

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}".strip()
)
os.environ["JAX_LEGACY_PRNG_KEY"] = "error"  # typed keys only


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """The folder of real recordings; tests that need it are skipped, and say so, without it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("ADIFF_DATA") or beside)
    if not path.is_dir():
        pytest.skip(f"no recordings: {path} does not exist (looked in ADIFF_DATA, ../shared/data)")
    return path
