"""Rates are what a clock and the configuration say."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from adiff_jax.train.throughput import Throughput, chips, peak_flops


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_rates_of_a_window(clock: list[float]) -> None:
    rates = Throughput(examples=32, seconds_per_example=10.0, peak=1e6, chips=4)
    clock[0] += 5.0
    rates.restart()  # five seconds of something else
    for flops in (0.5e5, 1.5e5, 0.5e5, 1.5e5):  # batches of two shapes
        rates.step(waited=0.1, flops=flops)
        clock[0] += 0.5
    assert rates.report() == pytest.approx(
        {
            "step_seconds": 0.5,
            "examples_per_second": 64.0,
            "examples_per_second_per_chip": 16.0,
            "data_wait_share": 0.2,
            "audio_seconds_per_second": 640.0,
            "audio_seconds_per_second_per_chip": 160.0,
            "flops_per_second": 2e5,
            "mfu": 0.2,
        }
    )
    assert rates.report() == {}


def test_what_is_not_known_is_left_out(clock: list[float]) -> None:
    rates = Throughput(examples=1, seconds_per_example=0.0, peak=None)
    rates.step(0.0, None)
    clock[0] += 1.0
    assert set(rates.report()) == {
        "step_seconds",
        "examples_per_second",
        "examples_per_second_per_chip",
        "data_wait_share",
    }


def test_the_longest_name_decides_the_peak() -> None:
    assert peak_flops("TPU v5 lite") == 197e12
    assert peak_flops("TPU v5") == 459e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("cpu") is None


def test_the_two_devices_of_an_old_chip_are_one_and_slices_are_apart() -> None:
    def device(number: int, **place: Any) -> Any:
        return SimpleNamespace(id=number, **place)

    assert chips(device(i, coords=[i // 2, 0, 0], core_on_chip=i % 2) for i in range(8)) == 4
    assert chips(device(i, coords=[i % 4, 0, 0], slice_index=i // 4) for i in range(8)) == 8
    assert chips(device(i) for i in range(3)) == 3
