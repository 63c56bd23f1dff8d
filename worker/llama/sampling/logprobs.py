"""Log-probabilities of a row as the model gave it: no penalty, temperature 1."""

from __future__ import annotations

import math

import numpy as np

from worker.llama.sampling.rows import Row, descending, largest


def logprobs(row: Row, token: int, num_top: int) -> tuple[float, list[tuple[int, float]]]:
    """The token's log-probability, and the likeliest tokens with theirs, best first."""
    peak = float(row.max())
    log_total = peak + math.log(np.exp(row - np.float32(peak)).sum())
    top = largest(row, num_top) if num_top else np.empty(0, np.intp)
    top = top[descending(row[top])]
    return float(row[token]) - log_total, [(int(i), float(row[i]) - log_total) for i in top]
