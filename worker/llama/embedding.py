"""Texts as vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.runner import RunnerError
from worker.engine.side_work import Pieces
from worker.llama.load import LoadedModel
from worker.llama.side_context import Piece, SideContext

Vector = NDArray[np.float32]


class Embedding:
    """Computes in a context of its own. The tokens' vectors are pooled here and not by llama.cpp,
    which would need the whole text in one decode."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._pooling = loaded.info.pooling
        self._size = loaded.model.embedding_size
        self._context = SideContext(loaded, max_batch=CELLS_PER_BLOCK, embeds=True)

    def embed(self, tokens: Sequence[int]) -> Pieces[Vector]:
        """A vector of length 1. Raises RunnerError."""
        pooled = np.zeros(self._size, np.float64)
        with self._context.empty(len(tokens)) as context:
            for start in range(0, len(tokens), CELLS_PER_BLOCK):
                piece = list(tokens[start : start + CELLS_PER_BLOCK])
                rows = context.decode([Piece(piece, start, len(piece))], [0])
                if self._pooling == "mean":
                    pooled += rows.sum(axis=0, dtype=np.float64)
                elif self._pooling == "last":
                    pooled = rows[-1].astype(np.float64)
                elif start == 0:
                    pooled = rows[0].astype(np.float64)
                yield
        return _normalised(pooled)

    def close(self) -> None:
        self._context.close()


def _normalised(vector: NDArray[np.float64]) -> Vector:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise RunnerError("the text has no vector", code="NO_VECTOR", retriable=False)
    return (vector / length).astype(np.float32)
