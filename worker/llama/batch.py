"""A llama_batch over numpy arrays, filled anew for each decode."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from llama_cpp import llama_cpp as C
from numpy.typing import NDArray


class Run(Protocol):
    """What a BatchItem says of its tokens."""

    @property
    def tokens(self) -> list[int]: ...
    @property
    def start(self) -> int: ...
    @property
    def num_rows(self) -> int: ...


class LlamaBatch:
    """Room for `capacity` tokens. `struct` points into the arrays and is valid as long as this."""

    def __init__(self, capacity: int) -> None:
        self._token = np.zeros(capacity, np.int32)
        self._pos = np.zeros(capacity, np.int32)
        self._seq = np.zeros(capacity, np.int32)
        self._logits = np.zeros(capacity, np.int8)
        self._one = np.ones(capacity, np.int32)
        # One sequence for each token: the i-th list of sequences is the i-th number of _seq.
        self._seq_lists = self._seq.ctypes.data + 4 * np.arange(capacity, dtype=np.uint64)
        self.struct = C.llama_batch(
            n_tokens=0,
            token=_pointer(self._token, C.llama_token),
            pos=_pointer(self._pos, C.llama_pos),
            n_seq_id=_pointer(self._one, ctypes.c_int32),
            seq_id=_pointer(self._seq_lists, ctypes.POINTER(C.llama_seq_id)),
            logits=_pointer(self._logits, ctypes.c_int8),
        )

    def fill(self, runs: Sequence[Run], seq_ids: Sequence[int]) -> int:
        """Lay out the runs one after the other. How many rows of logits they want in all."""
        # Lists first: one conversion for each array is cheaper than one for each run.
        tokens: list[int] = []
        positions: list[int] = []
        seqs: list[int] = []
        rows: list[int] = []
        for run, seq_id in zip(runs, seq_ids, strict=True):
            size = len(run.tokens)
            tokens += run.tokens
            positions += range(run.start, run.start + size)
            seqs += [seq_id] * size
            end = len(tokens)
            rows += range(end - run.num_rows, end)
        size = len(tokens)
        self._token[:size] = tokens
        self._pos[:size] = positions
        self._seq[:size] = seqs
        self._logits[:size] = 0
        self._logits[rows] = 1
        self.struct.n_tokens = size
        return len(rows)


def _pointer(array: NDArray[Any], kind: type[Any]) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
