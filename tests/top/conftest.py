"""One tiny tagger, ADC and ADIFF, trained once and used by every test in this folder."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adiff_jax import answer, run
from adiff_jax.api import Explainer
from adiff_jax.data.schema import Source
from adiff_jax.data.sources import open_source
from adiff_jax.run import Trained
from tests.quick import options
from tests.top import tiny_adiff, tiny_run

QUICK: dict[str, Any] = {
    "jax_disable_most_optimizations": True,  # compiling takes longer than computing here
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


Quickly = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of pytest-xdist see."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    (root / "tiny").mkdir(exist_ok=True)
    return root / "tiny"


@pytest.fixture(scope="session")
def quickly(shared: Path) -> Quickly:
    """Compiling without optimising, each program once."""
    return lambda: options(**QUICK, jax_compilation_cache_dir=str(shared / "compiled"))


@pytest.fixture(autouse=True)
def quick(quickly: Quickly) -> Iterator[None]:
    with quickly():
        yield


@pytest.fixture(scope="session")
def trained_once(shared: Path, quickly: Quickly) -> Path:
    """The folder of the finished runs `tagger` and `adc`; not to be written to."""
    with quickly(), (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "finished").exists():
            run.train(tiny_run.tagger(), shared / "tagger")
            run.train(tiny_run.adc(str(shared / "tagger")), shared / "adc")
            (shared / "finished").touch()
    return shared


@pytest.fixture(scope="session")
def tagger_run(trained_once: Path) -> Path:
    return trained_once / "tagger"


@pytest.fixture(scope="session")
def adc_run(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This worker's own copy of the ADC run."""
    copy = tmp_path_factory.mktemp("runs") / "adc"
    shutil.copytree(trained_once / "adc", copy)
    return copy


@pytest.fixture
def adc_copy(adc_run: Path, tmp_path: Path) -> Path:
    """A copy of the ADC run that a test may spoil."""
    return Path(shutil.copytree(adc_run, tmp_path / "copied"))


@pytest.fixture(scope="session")
def trained(adc_run: Path) -> Trained:
    return run.load_trained(adc_run)


@pytest.fixture(scope="session")
def explainer(trained: Trained) -> Explainer:
    return Explainer(trained)


@pytest.fixture(scope="session")
def test_pairs() -> Source:
    """What the split "pairs" holds."""
    return open_source(tiny_run.pairs("test", tiny_run.TEST))


@pytest.fixture(scope="session")
def answered(trained: Trained, quickly: Quickly) -> dict[str, Any]:
    """The scores of the ADC on its split "pairs"; predictions lie in its directory."""
    with quickly():
        return answer.answer(trained, "pairs", answer.Answering())


@pytest.fixture(scope="session")
def adiff_run(shared: Path, quickly: Quickly, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This worker's own copy of a finished run of ADIFF, with names for its head's classes."""
    with quickly(), (shared / "adiff_lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "adiff_finished").exists():
            (shared / "adiff").mkdir(exist_ok=True)
            run.RunDirectory.at(shared / "adiff").keep_classes(tiny_adiff.CLASSES)
            run.train(tiny_adiff.adiff(), shared / "adiff")
            (shared / "adiff_finished").touch()
    copy = tmp_path_factory.mktemp("runs") / "adiff"
    shutil.copytree(shared / "adiff", copy)
    return copy


@pytest.fixture(scope="session")
def adiff_trained(adiff_run: Path) -> Trained:
    """The run with the weights of a model that listens to its clips."""
    trained = run.load_trained(adiff_run)
    return replace(trained, variables=tiny_adiff.attentive(trained.variables))


@pytest.fixture(scope="session")
def adiff(adiff_trained: Trained) -> Explainer:
    return Explainer(adiff_trained)


@pytest.fixture(scope="session")
def adiff_waves() -> list[tuple[Any, Any]]:
    """Three pairs of clips for ADIFF, as long as its window."""
    source = open_source(tiny_adiff.explanations("test", tiny_adiff.TEST))
    return [source[index].waves for index in range(3)]


@pytest.fixture(scope="session")
def adiff_answered(adiff_trained: Trained, quickly: Quickly) -> dict[str, Any]:
    """The scores of ADIFF on its split "pairs"; predictions lie in its directory."""
    with quickly():
        return answer.answer(adiff_trained, "pairs", answer.Answering())
