"""Min-p: only what is likely enough in comparison to the likeliest."""

from __future__ import annotations

import math

import numpy as np

from worker.llama.sampling.candidates import Candidates


def min_p(candidates: Candidates, p: float) -> Candidates:
    """Those at least `p` times as likely as the likeliest; 0 keeps all."""
    if p <= 0.0:
        return candidates
    logits = candidates.logits
    is_likely = logits >= logits[candidates.best] + np.float32(math.log(p))
    if candidates.is_sorted:
        return candidates.first(int(np.count_nonzero(is_likely)))
    return candidates.keep(np.flatnonzero(is_likely))
