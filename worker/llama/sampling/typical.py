"""Locally typical sampling: those whose surprise is nearest to what is to be expected."""

from __future__ import annotations

import numpy as np

from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.fewest import fewest

_BANNED = np.float32(1e6)  # nats; infinity times a weight of 0 would be no number


def typical(candidates: Candidates, p: float) -> Candidates:
    """The most typical that together have more than the probability p; 1 keeps all."""
    if p >= 1.0:
        return candidates
    # A surprise differs from the expected one as it lies below the best from the mean of that.
    below = np.minimum(candidates.logits[candidates.best] - candidates.logits, _BANNED)
    weights = candidates.weights()
    total = float(weights.sum())
    distance = np.abs(below - np.float32(float((weights * below).sum()) / total))
    return candidates.keep(fewest(distance, weights, p * total, "right"))
