"""The filters, in llama.cpp's order: each sees what the one before has left."""

from __future__ import annotations

from worker.engine.params import SamplingParams
from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.min_p import min_p
from worker.llama.sampling.top_k import top_k
from worker.llama.sampling.top_p import top_p
from worker.llama.sampling.typical import typical
from worker.llama.sampling.xtc import xtc


def truncate(candidates: Candidates, params: SamplingParams, *, with_xtc: bool) -> Candidates:
    """What may be drawn. The temperature comes after, so that it never lets in the unlikely."""
    candidates = top_k(candidates, params.top_k)
    candidates = typical(candidates, params.typical_p)
    candidates = top_p(candidates, params.top_p)
    candidates = min_p(candidates, params.min_p)
    return xtc(candidates, params.xtc_threshold) if with_xtc else candidates
