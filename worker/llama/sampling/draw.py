"""Drawing one of several by their weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.llama.sampling.rows import Row

_BLOCK = 256


def pick(weights: Row, share: float) -> int:
    """Which weight lies at `share`, 0 to 1, of the way through their sum."""
    if len(weights) <= _BLOCK:
        sums = np.cumsum(weights, dtype=np.float64)
        return _first_above(sums, share * float(sums[-1]))
    # Blocks first: one running sum over a whole vocabulary takes milliseconds.
    blocks = np.cumsum(
        np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK)), dtype=np.float64
    )
    target = share * float(blocks[-1])
    block = _first_above(blocks, target)
    start = block * _BLOCK
    inside = np.cumsum(weights[start : start + _BLOCK], dtype=np.float64)
    return start + _first_above(inside, target - (float(blocks[block - 1]) if block else 0.0))


def _first_above(sums: NDArray[np.float64], target: float) -> int:
    """Rounding can put the target at the very end, which is the last."""
    return min(int(np.searchsorted(sums, target, side="right")), len(sums) - 1)
