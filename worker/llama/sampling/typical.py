"""Locally typical sampling: those whose surprise is nearest to what is to be expected."""

from __future__ import annotations

import numpy as np

from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.fewest import fewest


def typical(candidates: Candidates, p: float) -> Candidates:
    """The most typical that together have more than the probability p; 1 keeps all."""
    if p >= 1.0:
        return candidates
    weights = candidates.weights()
    total = float(weights.sum())
    surprise = np.log(total) - (candidates.logits - candidates.logits[candidates.best])
    with np.errstate(invalid="ignore"):  # what is banned: nothing times an infinite surprise
        entropy = np.nansum(weights * surprise, dtype=np.float64) / total
    distance = np.abs(surprise - np.float32(entropy))
    return candidates.keep(fewest(distance, weights, p * total, "right"))
