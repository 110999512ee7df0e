"""Reads the files of tests/golden; their contents are described in its README.md."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, np.ndarray]:
    """Every array of tests/golden/<name>.npz."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)
