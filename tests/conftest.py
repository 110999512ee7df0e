"""The machine that tests see: eight CPU devices, whatever accelerators there are.

Set before anything imports jax; processes that tests start inherit it.
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gcs.fake_server import Storage, serving

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


@pytest.fixture(scope="session")
def storage() -> Iterator[Storage]:
    """What lies in `gs://bucket`, which is on loopback while tests run. Names below it are theirs:
    each test takes a folder of its own."""
    if importlib.util.find_spec("gcsfs") is None:
        pytest.skip("gcsfs is not installed (extra [gcs])")
    with serving("bucket") as (url, stored), pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", url)  # gcsfs
        environment.setenv("TENSORSTORE_GCS_HTTP_URL", url)
        # gcsfs would ask Google, with credentials, which kind of bucket it is.
        environment.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        environment.setenv("NO_GCE_CHECK", "true")  # nor for credentials
        yield stored
