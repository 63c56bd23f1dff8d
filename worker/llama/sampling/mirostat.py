"""Mirostat: as many candidates as keep the surprise of the text at a target."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from worker.engine.params import SamplingParams
from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.top_k import top_k

_NUM_FOR_ESTIMATE = 100


class Mirostat(Protocol):
    """Its state is `mu`, in bits: the most surprise that is let through at the moment."""

    mu: float

    def keep(self, candidates: Candidates) -> Candidates: ...

    def observe(self, probability: float) -> None:
        """What was chosen had this probability among those kept."""
        ...


class _Feedback:
    def __init__(self, tau: float, eta: float) -> None:
        self.mu = 2.0 * tau
        self._tau = tau
        self._eta = eta

    def observe(self, probability: float) -> None:
        self.mu -= self._eta * (-math.log2(probability) - self._tau)


class MirostatV1(_Feedback):
    """Estimates how steeply the vocabulary falls off, and from that how many to keep."""

    def keep(self, candidates: Candidates) -> Candidates:
        return top_k(candidates, self._count(candidates))

    def _count(self, candidates: Candidates) -> int:
        """How many words have a surprise of at most `mu`, by Zipf's law with a fitted exponent."""
        size = len(candidates)
        logits = top_k(candidates, min(_NUM_FOR_ESTIMATE, size)).sorted().logits
        finite = logits[np.isfinite(logits)].astype(np.float64)
        if len(finite) < 2:
            return 1
        ranks = np.arange(1, len(finite), dtype=np.float64)
        steps = np.log((ranks + 1) / ranks)
        exponent = float(steps @ -np.diff(finite)) / float(steps @ steps)
        return _num_below(self.mu, max(exponent, 1e-9), size)


def _num_below(mu: float, exponent: float, size: int) -> int:
    """How many of `size` words, of which the i-th is as likely as i^-exponent, to keep."""
    excess = exponent - 1.0
    try:
        # The quotient's limit, where its two sides vanish together.
        scale = excess / (1.0 - size**-excess) if abs(excess) > 1e-9 else 1.0 / math.log(size)
        count = float((scale * 2.0**mu) ** (1.0 / exponent))
    except OverflowError:
        return size
    return min(max(int(count), 1), size)


class MirostatV2(_Feedback):
    """Cuts at the surprise itself."""

    def keep(self, candidates: Candidates) -> Candidates:
        best = candidates.logits[candidates.best]
        log_total = math.log(float(candidates.weights().sum()))
        least = best + np.float32(log_total - self.mu * math.log(2.0))
        kept = np.flatnonzero(candidates.logits >= least)
        return candidates.keep(kept if len(kept) else np.array([candidates.best]))


def mirostat_of(params: SamplingParams) -> Mirostat | None:
    """None when the request asks for none."""
    match params.mirostat:
        case 1:
            return MirostatV1(params.mirostat_tau, params.mirostat_eta)
        case 2:
            return MirostatV2(params.mirostat_tau, params.mirostat_eta)
        case _:
            return None
