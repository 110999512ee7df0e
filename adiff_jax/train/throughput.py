"""How fast training runs: examples and audio per second, data wait, share of the device's peak."""

import time
from collections.abc import Iterable

import jax

PEAK_BF16_FLOPS = {
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "Tesla V100": 125e12,
    "Tesla T4": 65e12,
}
"""Dense bf16 (V100, T4: fp16) peak of one JAX device, by the start of its kind; the makers' data
sheets. A v2 or v3 chip is two devices."""


def peak_flops(device_kind: str) -> float | None:
    """Peak of the longest kind in the table that `device_kind` starts with; None when unknown."""
    kinds = [kind for kind in PEAK_BF16_FLOPS if device_kind.startswith(kind)]
    return PEAK_BF16_FLOPS[max(kinds, key=len)] if kinds else None


def chips(devices: Iterable[jax.Device]) -> int:
    """How many chips these devices are: the two of a TPU v2 or v3 chip stand at one place."""
    places = {
        (getattr(device, "slice_index", 0), tuple(getattr(device, "coords", (device.id,))))
        for device in devices
    }
    return len(places)


class Throughput:
    """Rates over the steps since the last `restart`, each of `examples` on so many `chips`."""

    def __init__(
        self, examples: int, seconds_per_example: float, peak: float | None, chips: int = 1
    ) -> None:
        self._examples, self._seconds_per_example, self._peak = examples, seconds_per_example, peak
        self._chips = chips
        self.restart()

    def restart(self) -> None:
        """Begin a new window: after a report, and after anything that is no training."""
        self._start, self._steps, self._waited = time.perf_counter(), 0, 0.0
        self._flops: float | None = 0.0

    def step(self, waited: float, flops: float | None) -> None:
        """Count one finished step of `flops` operations on each device, for which `waited` seconds
        passed in which the device had no data."""
        self._steps += 1
        self._waited += waited
        self._flops = None if flops is None or self._flops is None else self._flops + flops

    def report(self) -> dict[str, float]:
        """The rates; then a new window.

        `step_seconds`, `data_wait_share` (of the time, that in which the device had nothing to do
        for want of data), `examples_per_second` and the same `_per_chip`; where the length of an
        example is known, `audio_seconds_per_second` and the same `_per_chip`; `flops_per_second`
        of one device and `mfu` (its share of the bf16 peak) where they are. Empty when no step was
        counted.
        """
        elapsed, steps, waited = time.perf_counter() - self._start, self._steps, self._waited
        flops = self._flops
        self.restart()
        if not steps:
            return {}
        rate = self._examples * steps / elapsed
        rates = {
            "step_seconds": elapsed / steps,
            "examples_per_second": rate,
            "examples_per_second_per_chip": rate / self._chips,
            "data_wait_share": waited / elapsed,
        }
        if self._seconds_per_example:
            heard = rate * self._seconds_per_example
            rates["audio_seconds_per_second"] = heard
            rates["audio_seconds_per_second_per_chip"] = heard / self._chips
        if flops:
            rates["flops_per_second"] = flops / elapsed
            if self._peak:
                rates["mfu"] = rates["flops_per_second"] / self._peak
        return rates
