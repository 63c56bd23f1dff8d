"""XTC, exclude top choices: now and then, take the obvious away."""

from __future__ import annotations

import numpy as np

from worker.llama.sampling.candidates import Candidates

_MAX_THRESHOLD = 0.5  # of two that are likelier than that there can only be one


def is_on(probability: float, threshold: float) -> bool:
    return probability > 0.0 and threshold <= _MAX_THRESHOLD


def xtc(candidates: Candidates, threshold: float) -> Candidates:
    """Without those at least as likely as `threshold`, but for the least likely of them."""
    weights = candidates.weights()
    is_top = weights >= threshold * weights.sum()
    num_top = int(np.count_nonzero(is_top))
    if num_top < 2:
        return candidates
    if candidates.is_sorted:
        return candidates.skip(num_top - 1)
    top = np.flatnonzero(is_top)
    is_top[top[weights[top].argmin()]] = False
    return candidates.keep(np.flatnonzero(~is_top))
