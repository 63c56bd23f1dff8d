"""A llama_context: KV cells and the buffers to compute in."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from llama_cpp import llama_cpp as C
from numpy.typing import NDArray

from worker.engine.batch import BatchItem
from worker.engine.runner import RunnerError
from worker.llama.batch import LlamaBatch

Rows = NDArray[np.float32]

_NO_ROOM, _ABORTED = 1, 2


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """`max_batch` tokens go into one decode, at most one output for each of `num_seqs`."""

    num_cells: int
    num_seqs: int
    max_batch: int
    num_threads: int
    kv_type: int
    on_device: bool


class ContextError(Exception):
    """The context could not be made: no memory for its cells or its buffers."""


class Context:
    """Owns one llama_context. One thread at a time; close it before its model."""

    def __init__(
        self, model: C.llama_model_p | None, num_vocab: int, options: ContextOptions
    ) -> None:
        params = C.llama_context_default_params()
        params.n_ctx = options.num_cells
        params.n_batch = params.n_ubatch = options.max_batch
        params.n_seq_max = params.n_outputs_max = options.num_seqs
        params.n_threads = params.n_threads_batch = options.num_threads
        params.type_k = params.type_v = options.kv_type
        params.offload_kqv = params.op_offload = options.on_device
        # One pool of cells for all sequences, and of sliding-window layers only the window.
        params.kv_unified = True
        params.swa_full = False
        params.no_perf = True
        context = C.llama_init_from_model(model, params)
        if context is None:
            raise ContextError(f"no context of {options.num_cells} cells")
        self._context: C.llama_context_p | None = context
        self._memory = C.llama_get_memory(context)
        self._batch = LlamaBatch(options.max_batch)
        self._num_vocab = num_vocab

    def decode(self, items: list[BatchItem], seq_ids: list[int]) -> Rows:
        """Compute them; a row of logits for each item that is sampled, valid until the next call.

        Raises RunnerError.
        """
        self._batch.fill(items, seq_ids)
        status = C.llama_decode(self._context, self._batch.struct)
        if status != 0:
            raise _decode_error(status)
        num_rows = sum(item.sampled for item in items)
        return self._logits(num_rows)

    def forget(self, seq_id: int) -> None:
        """Free the cells of a sequence."""
        C.llama_memory_seq_rm(self._memory, seq_id, -1, -1)

    def clear(self) -> None:
        C.llama_memory_clear(self._memory, True)

    def close(self) -> None:
        if self._context is not None:
            C.llama_free(self._context)
            self._context = None

    def _logits(self, num_rows: int) -> Rows:
        address = ctypes.cast(C.llama_get_logits(self._context), ctypes.c_void_p).value or 0
        kind = ctypes.c_float * (num_rows * self._num_vocab)
        rows: Rows = np.ctypeslib.as_array(kind.from_address(address))
        return rows.reshape(num_rows, self._num_vocab)


def _decode_error(status: int) -> RunnerError:
    if status == _NO_ROOM:
        return RunnerError("the KV cache has no room for the batch", code="NO_ROOM")
    if status == _ABORTED:
        return RunnerError("the computation was aborted", code="ABORTED")
    return RunnerError(f"llama_decode returned {status}")
