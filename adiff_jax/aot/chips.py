"""TPU chips: what one holds and does, and the slices that can be had of them.

Figures are the makers': the pages "TPU v2" to "TPU v6e" of Google Cloud's documentation ("HBM
capacity", "HBM bandwidth"), and Jouppi et al., "A Domain-Specific Supercomputer for Training Deep
Neural Networks" (2020), for v2 and v3. The interconnect is what one chip sends over all its links
together, in one direction: "all-reduce bandwidth per Pod" divided by its chips (v4, v5e, v6e),
half of the bidirectional bandwidth (v5p), links times their rate (v2: 4 x 496 Gbit/s, v3: 4 x 656).
Peaks are those of `train.throughput`.
"""

from dataclasses import dataclass

from adiff_jax.train.throughput import peak_flops

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One chip. JAX sees `devices` of them: a v2 or v3 chip is two, each with half of everything;
    the two cores of a v4 or v5p chip are one."""

    name: str
    kind: str  # what JAX calls a device
    hbm_bytes: int
    hbm_bandwidth: float  # bytes a second
    interconnect: float  # bytes a second, sent over all links
    devices: int = 1

    @property
    def peak(self) -> float:
        """bf16 operations a second of one device."""
        found = peak_flops(self.kind)
        if found is None:
            raise ValueError(f"{self.kind}: no peak in adiff_jax.train.throughput.PEAK_BF16_FLOPS")
        return found


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v2", "TPU v2", 16 * GIB, 700e9, 248e9, devices=2),
        Chip("v3", "TPU v3", 32 * GIB, 900e9, 328e9, devices=2),
        Chip("v4", "TPU v4", 32 * GIB, 1200e9, 268e9),
        Chip("v5e", "TPU v5 lite", 16 * GIB, 819e9, 200e9),
        Chip("v5p", "TPU v5", 95 * GIB, 2765e9, 600e9),
        Chip("v6e", "TPU v6 lite", 32 * GIB, 1638e9, 400e9),
    )
}

_SQUARE = ("2x2", "4x4", "8x8", "16x16")
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBIC = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")
SLICES = {
    "v2": _SQUARE,
    "v3": _SQUARE,
    "v4": _CUBIC,
    "v5e": _FLAT,
    "v5p": _CUBIC,
    "v6e": _FLAT,
}
"""Slices up to 256 chips; larger ones may be named too."""
