"""Loudness of parts of a recording (ITU-R BS.1770-4), measured without filtering each part anew.

A recording is K-weighted once and reduced to its mean square per hop of 10 ms; a segment's gated
loudness follows from the hops it covers. Against filtering the segment by itself (pyloudnorm) only
the filter's start-up differs. Two cases that the standard leaves open are defined here: a segment
shorter than one 400 ms block is one ungated block over its own length, and a segment whose blocks
all lie under the absolute gate is measured ungated; digital silence is -inf.
"""

import numpy as np
from pyloudnorm.iirfilter import IIRfilter

HOPS_PER_SECOND = 100
_BLOCK = 40  # hops: 400 ms
_STEP = 10  # hops: blocks overlap by 75 %
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0


def hop_edges(samples: int, rate: int) -> np.ndarray:
    """Sample positions [hops + 1] of a recording's 10 ms grid; a last partial hop is dropped."""
    hops = samples * HOPS_PER_SECOND // rate
    return (np.arange(hops + 1) * rate) // HOPS_PER_SECOND


def hop_powers(wave: np.ndarray, rate: int) -> np.ndarray:
    """K-weighted mean square of every 10 ms of `wave` [n]: float64 [hops]."""
    weighted = np.asarray(wave, np.float64)
    for stage in (
        IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, rate, "high_shelf"),
        IIRfilter(0.0, 0.5, 38.0, rate, "high_pass"),
    ):
        weighted = stage.apply_filter(weighted)
    edges = hop_edges(len(wave), rate)
    if len(edges) < 2:
        raise ValueError(f"{len(wave)} samples at {rate} Hz are shorter than one 10 ms hop")
    return np.add.reduceat(np.square(weighted[: edges[-1]]), edges[:-1]) / np.diff(edges)


def loudness(powers: np.ndarray) -> float:
    """Gated loudness in LUFS of a segment given by its `hop_powers` [hops]."""
    if len(powers) < _BLOCK:
        return _lufs(powers.mean())
    total = np.concatenate(([0.0], np.cumsum(powers)))
    starts = np.arange(0, len(powers) - _BLOCK + 1, _STEP)
    blocks = (total[starts + _BLOCK] - total[starts]) / _BLOCK
    audible = blocks[blocks >= _power(_ABSOLUTE_GATE)]
    if not len(audible):
        return _lufs(powers.mean())
    gate = audible.mean() * 10 ** (_RELATIVE_GATE / 10)
    return _lufs(audible[audible > gate].mean())


def loudest_block(powers: np.ndarray) -> int:
    """First hop of the loudest 400 ms of a recording (0 if it is shorter than that)."""
    if len(powers) <= _BLOCK:
        return 0
    total = np.concatenate(([0.0], np.cumsum(powers)))
    return int(np.argmax(total[_BLOCK:] - total[:-_BLOCK]))


BLOCK_HOPS = _BLOCK


def _lufs(power: float) -> float:
    return -0.691 + 10 * np.log10(power) if power > 0 else -np.inf


def _power(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)
