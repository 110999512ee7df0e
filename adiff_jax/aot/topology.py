"""The devices of a TPU slice that is not there: libtpu describes them, and compiles for them."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import jax
from jax.experimental import topologies

from adiff_jax.aot.chips import CHIPS, SLICES, Chip

# Without them libtpu asks the network which machine this is, and wants to be alone with its chips.
_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True)
class Slice:
    """Devices to compile for; nothing can run on them."""

    name: str  # "v5e:4x4"
    chip: Chip
    count: int  # of slices
    devices: Sequence[jax.Device]

    @property
    def chips(self) -> int:
        """In all slices."""
        return len(self.devices) // self.chip.devices


def describe(name: str, count: int = 1) -> Slice:
    """The devices of `count` slices called `name`, such as "v5e:4x4".

    Raises ValueError, with the names that there are, for one that does not exist, and ImportError
    without libtpu. JAX stays on the CPU: whatever accelerator is here is left alone.
    """
    chip, _, shape = name.partition(":")
    if chip not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        raise ValueError(f"no topology {name!r}{_there_are()}")
    if count < 1:
        raise ValueError(f"slices is {count}; it must be 1 or more")
    if find_spec("libtpu") is None:
        raise ImportError(
            "compiling for a TPU slice needs libtpu: pip install -c constraints.txt -e '.[aot]'"
        )
    for variable, value in _ALONE.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
    options: dict[str, object] = {} if count == 1 else {"num_slices": count}
    if chip == "v4":  # as JAX runs on one: the two cores of a chip are one device
        options["chip_config_name"] = "megacore"
    try:
        devices = topologies.get_topology_desc(name, "tpu", **options).devices
    except RuntimeError as error:  # JaxRuntimeError
        raise ValueError(f"no topology {name!r}: {error}{_there_are()}") from error
    return Slice(name, CHIPS[chip], count, devices)


def _there_are() -> str:
    lines = (f"{chip}:{' '.join(shapes)}" for chip, shapes in SLICES.items())
    return "; there are, and larger ones:\n  " + "\n  ".join(lines)
