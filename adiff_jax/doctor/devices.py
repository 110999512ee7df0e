"""The devices, their memory, and how exactly they multiply."""

import os
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from adiff_jax.doctor.finding import Finding, beware, broken, well

_ACCELERATORS = {
    "/dev/nvidia0": ("a GPU", "cuda"),
    "/dev/accel0": ("a TPU", "tpu"),
}
"""Device files, what they stand for, and the extra that makes JAX use it."""

_SIZE = 512
_FLOAT32, _TF32 = 1e-5, 8e-4
"""Relative errors of a product of two random matrices (Frobenius norm): float32 itself makes about
3e-7, three passes of bfloat16 1e-5 at most, TF32's 10 bits 4e-4, bfloat16's 7 bits 2e-3."""


def devices(root: Path = Path("/")) -> Finding:
    """Kinds, number and memory; beware when an accelerator lies idle. `root` is where /dev is."""
    kinds = Counter(device.device_kind for device in jax.devices())
    text = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
    if jax.process_count() > 1:
        text += f", {jax.local_device_count()} of them in each process"
    if len(kinds) > 1:
        return broken("devices", text, "give a job devices of one kind")
    idle = [found for file, found in _ACCELERATORS.items() if (root / file[1:]).exists()]
    if jax.default_backend() == "cpu" and idle:
        what, extra = idle[0]
        chosen = os.environ.get("JAX_PLATFORMS")
        way_out = f"pip install -c constraints.txt -e '.[{extra}]'"
        return beware(
            "devices",
            f"{text}, while {what} seems to be there",
            f"unset JAX_PLATFORMS, which is {chosen!r}" if chosen else way_out,
        )
    stats = [device.memory_stats() for device in jax.local_devices()]
    known = [found for found in stats if found and found.get("bytes_limit")]
    if not known:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return well("devices", f"{text}, {size(pages)} of memory in this machine")
    limit = min(found["bytes_limit"] for found in known)
    used = max(found.get("bytes_in_use", 0) for found in known)
    return well("devices", f"{text}, {size(limit)} each, of which {size(used)} in use")


def precision() -> Finding:
    """What a float32 product comes to by default, and at the highest precision.

    Broken when the highest is not float32: log-mels, similarities and logits ask for it by name.
    """
    left, right = np.random.default_rng(0).normal(size=(2, _SIZE, _SIZE)).astype(np.float32)
    default, highest = (_error(left, right, level) for level in (None, jax.lax.Precision.HIGHEST))
    setting = jax.config.values["jax_default_matmul_precision"]
    text = (
        f"float32 products are as exact as {_called(default)} (relative error {default:.0e}; "
        f"jax_default_matmul_precision is {setting}), at HIGHEST {_called(highest)} ({highest:.0e})"
    )
    if highest > _FLOAT32:
        return broken(
            "precision",
            text,
            "log-mels and losses need float32: unset XLA_FLAGS and JAX_DEFAULT_MATMUL_PRECISION, "
            "and look for an update of jaxlib",
        )
    return well("precision", text)


def _error(left: np.ndarray, right: np.ndarray, level: jax.lax.Precision | None) -> float:
    exact = left.astype(np.float64) @ right.astype(np.float64)
    found = np.asarray(jnp.matmul(left, right, precision=level), np.float64)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _called(error: float) -> str:
    return "float32" if error < _FLOAT32 else "TF32" if error < _TF32 else "bfloat16"


def size(count: int) -> str:
    """Bytes as people read them."""
    unit, name = (2**30, "GiB") if count >= 2**30 else (2**20, "MiB")
    return f"{count / unit:.3g} {name}"
