"""How fast a step can be at best, from what it computes, reads and sends (Williams et al., 2009).

Each bound alone is the time that one resource needs at its peak. The step takes at least the
longest of them; collectives that nothing can hide come on top of what they interrupt.
"""

from dataclasses import dataclass

from adiff_jax.aot.chips import Chip
from adiff_jax.train.flops import Flops


@dataclass(frozen=True)
class Roofline:
    """Seconds of one step on one device, each resource alone."""

    compute: float  # products at the bf16 peak, float32 ones by their passes
    memory: float  # what the compiler says is read and written
    interconnect: float  # everything sent
    exposed: float  # the part of it that runs while nothing else does
    peak: float  # bf16 operations a second
    flops: float  # operations of one device

    @property
    def seconds(self) -> float:
        """The least time of a step."""
        return max(max(self.compute, self.memory) + self.exposed, self.interconnect)

    @property
    def bound(self) -> str:
        """What takes the longest alone."""
        bounds = {
            "compute": self.compute,
            "memory": self.memory,
            "interconnect": self.interconnect,
        }
        return max(bounds, key=lambda name: bounds[name])

    @property
    def mfu(self) -> float:
        """The share of the bf16 peak that a step of this time would use."""
        return self.flops / self.seconds / self.peak


def roofline(
    chip: Chip, devices: int, flops: Flops, read: float, moved: float, exposed: float
) -> Roofline:
    """Bounds of a step: `flops` of all `devices`; bytes `read` and written, `moved` and sent
    `exposed` of one."""
    bandwidth, links = chip.hbm_bandwidth / chip.devices, chip.interconnect / chip.devices
    return Roofline(
        compute=flops.passes / devices / chip.peak,
        memory=read / bandwidth,
        interconnect=moved / links,
        exposed=exposed / links,
        peak=chip.peak,
        flops=flops.count / devices,
    )
