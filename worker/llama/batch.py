"""A llama_batch over numpy arrays, filled anew for each decode."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as C
from numpy.typing import NDArray

from worker.engine.batch import BatchItem


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

    def fill(self, items: list[BatchItem], seq_ids: list[int]) -> None:
        """Lay out the items one after the other; logits for the last token of those sampled."""
        end = 0
        self._logits[:] = 0
        for item, seq_id in zip(items, seq_ids, strict=True):
            start, size = end, len(item.tokens)
            end += size
            self._token[start:end] = item.tokens
            self._pos[start:end] = range(item.start, item.start + size)
            self._seq[start:end] = seq_id
            self._logits[end - 1] = item.sampled
        self.struct.n_tokens = end


def _pointer(array: NDArray[Any], kind: type[Any]) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
