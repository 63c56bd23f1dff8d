"""As few as suffice, the nearest first, without sorting them all."""

from __future__ import annotations

from typing import Literal

import numpy as np

from worker.llama.sampling.rows import Ids, Row

_NUM_BUCKETS = 2048
_PER_UNIT = np.float32(64.0)


def fewest(keys: Row, weights: Row, enough: float, side: Literal["left", "right"]) -> Ids:
    """Where the smallest keys are, as few as weigh `enough` together, or more than that with side
    "right"; all, if they never do. Keys are at least 0. In no order.
    """
    buckets = np.minimum(keys * _PER_UNIT, np.float32(_NUM_BUCKETS - 1)).astype(np.intp)
    mass = np.cumsum(np.bincount(buckets, weights, _NUM_BUCKETS))
    border = min(int(np.searchsorted(mass, enough, side)), _NUM_BUCKETS - 1)
    inside = np.flatnonzero(buckets == border)
    inside = inside[np.argsort(keys[inside], kind="stable")]
    before = mass[border - 1] if border else 0.0
    sums = before + np.cumsum(weights[inside], dtype=np.float64)
    count = int(np.searchsorted(sums, enough, side)) + 1
    return np.concatenate([np.flatnonzero(buckets < border), inside[:count]])
