"""Timings: warm-up is not counted, and the table says machine, median, spread and rate."""

import time

import jax

from adiff_jax import timing
from adiff_jax.timing import HEAD, Row, Timing, machine, measure


def test_warm_up_is_not_timed_and_calls_go_on_until_both_limits(monkeypatch):
    monkeypatch.setattr(timing, "LEAST_CALLS", 4)
    monkeypatch.setattr(timing, "LEAST_SECONDS", 0.0)
    naps = iter([0.3, 0.3, 0.01, 0.01, 0.01, 0.01])
    measured = measure(lambda: time.sleep(next(naps)), warm_up=2)
    assert measured.calls == 4
    assert 0.01 <= measured.lower <= measured.median <= measured.upper < 0.3

    monkeypatch.setattr(timing, "LEAST_SECONDS", 0.08)
    assert measure(lambda: time.sleep(0.01), warm_up=0).calls > 4


def test_the_median_and_quartiles_are_of_the_calls(monkeypatch):
    monkeypatch.setattr(timing, "LEAST_SECONDS", 0.0)
    clock = iter([0, 1, 1, 3, 3, 6, 6, 10, 10, 15])  # calls of 1, 2, 3, 4, 5 seconds
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    assert measure(lambda: None, warm_up=0) == Timing(median=3.0, lower=2.0, upper=4.0, calls=5)


def test_the_table_has_a_line_a_row_with_rate_and_spread():
    row = Row("encoder", "small, 8 clips", "jax", Timing(0.02, 0.0191, 1.5, 30), 8, "clips")
    assert str(row) == "| encoder | small, 8 clips | jax | 400 clips/s | 20 (19.1–1,500) | 30 |"
    assert [line.count("|") for line in [*HEAD.splitlines(), str(row)]] == [7, 7, 7]


def test_the_machine_is_named_with_device_and_version():
    assert f"jax {jax.__version__}" in machine()
    assert f"{jax.device_count()} × {jax.devices()[0].device_kind}" in machine()
