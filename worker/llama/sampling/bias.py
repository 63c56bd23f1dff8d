"""Logit bias: tokens made likelier, less likely, or impossible by their ids."""

from __future__ import annotations

import numpy as np

from worker.engine.params import SamplingParams
from worker.llama.sampling.rows import Row


class LogitBias:
    """A LogitEdit that is the same for every token of the answer."""

    def __init__(self, biases: tuple[tuple[int, float], ...]) -> None:
        self._ids = np.array([token for token, _ in biases], np.intp)
        self._biases = np.array([bias for _, bias in biases], np.float32)

    @classmethod
    def of(cls, params: SamplingParams) -> LogitBias | None:
        return cls(params.logit_bias) if params.logit_bias else None

    def edit(self, row: Row) -> None:
        np.add.at(row, self._ids, self._biases)  # a token that is named twice is biased twice

    def note(self, token: int) -> None:
        pass
