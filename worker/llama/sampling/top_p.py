"""Top-p, or nucleus: the fewest that make up a share of the probability."""

from __future__ import annotations

import numpy as np

from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.fewest import fewest
from worker.llama.sampling.top_k import top_k

_USUALLY_ENOUGH = 256


def top_p(candidates: Candidates, p: float) -> Candidates:
    """The fewest of the likeliest that together have the probability p; 1 keeps all."""
    if p >= 1.0:
        return candidates
    weights = candidates.weights()
    enough = p * float(weights.sum())
    likeliest = top_k(candidates, _USUALLY_ENOUGH).sorted()
    mass = np.cumsum(likeliest.weights(), dtype=np.float64)
    if mass[-1] >= enough:
        return likeliest.first(int(np.searchsorted(mass, enough)) + 1)
    below_best = candidates.logits[candidates.best] - candidates.logits
    return candidates.keep(fewest(below_best, weights, enough, "left"))
