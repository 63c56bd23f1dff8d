"""Top-k: only the k likeliest."""

from __future__ import annotations

from worker.llama.sampling.candidates import Candidates
from worker.llama.sampling.rows import descending, largest


def top_k(candidates: Candidates, k: int) -> Candidates:
    """The k likeliest, sorted; k 0 keeps all."""
    if k <= 0:
        return candidates
    if candidates.is_sorted:
        return candidates.first(min(k, len(candidates)))
    if k >= len(candidates):
        return candidates
    chosen = largest(candidates.logits, k)
    return candidates.keep(chosen[descending(candidates.logits[chosen])], is_sorted=True)
