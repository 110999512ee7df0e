"""Waiting counts only where the device had nothing to do."""

import threading
import time
from collections.abc import Iterator

import jax
import pytest

from adiff_jax.train.feed import Idleness


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What the device computes ends when this is set."""
    end = threading.Event()
    monkeypatch.setattr(jax, "block_until_ready", lambda _: end.wait(30))
    yield end
    end.set()


def test_all_of_a_wait_counts_while_nothing_is_computed() -> None:
    with Idleness() as idleness:
        began = time.perf_counter() - 2.0
        assert idleness.since(began) == pytest.approx(2.0, abs=0.5)


def test_a_wait_behind_a_step_counts_from_its_end(work: threading.Event) -> None:
    with Idleness() as idleness:
        began = time.perf_counter()
        idleness.busy_until(jax.numpy.zeros(()))
        time.sleep(0.1)
        assert idleness.since(began) == 0
        work.set()
        while not idleness.since(began):
            time.sleep(0.001)
        time.sleep(0.1)
        idle = idleness.since(began)
        assert 0.1 <= idle <= time.perf_counter() - began - 0.1
