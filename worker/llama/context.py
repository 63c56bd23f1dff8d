"""A llama_context: KV cells and the buffers to compute in."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as C
from numpy.typing import NDArray

from worker.engine.cache.buffer import new_bytes, writable
from worker.engine.runner import RunnerError
from worker.llama.batch import LlamaBatch, Run
from worker.llama.interrupt import Interrupt
from worker.llama.state import StateLayout
from worker.llama.streams import with_streams, without_streams
from worker.llama.turned import turn_to_cells, turn_to_columns

Rows = NDArray[np.float32]

_NO_ROOM, _ABORTED = 1, 2


@dataclass(frozen=True, slots=True)
class ContextOptions:
    """`max_batch` tokens go into one decode, `max_rows_at_once` of them (0: all) through the model
    at a time. It gives at most `num_rows` rows of logits, which are no fewer than `num_seqs`. With
    `is_split` each sequence has an equal share of the cells. `flash_attention` None leaves it to
    llama.cpp; without it attention needs `score_bytes` for each row and cell, 0 where it must not
    be done so. With `embeds` rows are the last layer's vectors."""

    num_cells: int
    num_seqs: int
    num_rows: int
    max_batch: int
    num_threads: int
    kv_type: int
    on_device: bool
    is_split: bool = False
    flash_attention: bool | None = None
    max_rows_at_once: int = 0
    score_bytes: int = 0
    embeds: bool = False


class ContextError(Exception):
    """The context could not be made: no memory for its cells or its buffers."""


class Context:
    """Owns one llama_context. One thread at a time; close it before its model.

    Sequence ids below `num_seqs` name what it holds; none holds anything at first. A row has
    `width` numbers: the vocabulary's or, of vectors, the model's own. `state_layout`
    is what states look like outside; as long as it is not known they look as they are written.
    """

    def __init__(
        self,
        model: C.llama_model_p | None,
        width: int,
        options: ContextOptions,
        interrupt: Interrupt,
        state_layout: StateLayout | None = None,
    ) -> None:
        params = C.llama_context_default_params()
        params.n_ctx = options.num_cells
        params.n_batch = options.max_batch
        params.n_ubatch = options.max_rows_at_once or options.max_batch
        params.n_seq_max, params.n_outputs_max = options.num_seqs, options.num_rows
        params.n_threads = params.n_threads_batch = options.num_threads
        params.type_k = params.type_v = options.kv_type
        params.offload_kqv = params.op_offload = options.on_device
        if options.flash_attention is not None:
            params.flash_attn_type = int(options.flash_attention)
        # In one pool of cells all sequences can share them. Layers with a sliding window have as
        # many: in fewer, cells that are shared could leave no room for others.
        params.kv_unified = not options.is_split
        params.swa_full = True
        params.no_perf = True
        params.embeddings = options.embeds
        if options.embeds:
            params.pooling_type = C.LLAMA_POOLING_TYPE_NONE
        context = C.llama_init_from_model(model, params)
        if context is None:
            raise ContextError(f"no context of {options.num_cells} cells")
        interrupt.install(context)
        self.num_cells = options.num_cells
        self.has_values_by_column = options.flash_attention is False
        self.state_layout = state_layout
        self._num_streams = options.num_seqs if options.is_split else 1
        self._interrupt = interrupt
        self._context: C.llama_context_p | None = context
        self._memory = C.llama_get_memory(context)
        self._batch = LlamaBatch(options.max_batch)
        self._shape = (options.num_rows, width)
        self._get_rows = C.llama_get_embeddings if options.embeds else C.llama_get_logits
        self._rows: Rows = np.empty(0, np.float32)
        self._rows_address = 0
        self._holes: dict[int, int] = {}  # of a sequence, how many positions hold nothing

    def decode(self, runs: Sequence[Run], seq_ids: Sequence[int]) -> Rows:
        """Compute them; the rows of logits that the runs want, valid until the next call.

        Raises RunnerError.
        """
        num_rows = self._batch.fill(runs, seq_ids)
        self._interrupt.clear()
        status = C.llama_decode(self._context, self._batch.struct)
        if status != 0:
            raise _decode_error(status)
        return self._logits()[:num_rows]

    def copy(self, source: int, target: int, length: int) -> None:
        """Let the empty `target` share the cells of the source's first `length` positions, or
        have the like of them where each sequence has its own. Raises RunnerError."""
        if self._num_streams == 1:
            C.llama_memory_seq_cp(self._memory, source, target, 0, length)
            return
        # llama.cpp's own copy would be made in the next decode, of what is there by then.
        cells = self._written(source)
        address, size = _address(cells), len(cells)
        if C.llama_state_seq_set_data(self._context, address, size, target) != size:
            self.forget(target)
            raise RunnerError(f"the cells of sequence {source} could not be copied")
        self.trim(target, length)

    def trim(self, seq_id: int, length: int) -> None:
        """Free the cells of a sequence but those of its first `length` positions."""
        C.llama_memory_seq_rm(self._memory, seq_id, length, -1)
        if length <= self._holes.get(seq_id, 0):
            self._holes.pop(seq_id, None)

    def forget(self, seq_id: int) -> None:
        """Free the cells of a sequence."""
        C.llama_memory_seq_rm(self._memory, seq_id, -1, -1)
        self._holes.pop(seq_id, None)

    def positions(self, seq_id: int) -> range:
        """Those it holds: all of them, or of a sliding window what is left."""
        first = max(C.llama_memory_seq_pos_min(self._memory, seq_id), self._holes.get(seq_id, 0))
        return range(max(first, 0), C.llama_memory_seq_pos_max(self._memory, seq_id) + 1)

    def state(self, seq_id: int) -> bytes:
        """What the cells of a sequence hold; the same however they are dealt out."""
        if self._num_streams > 1:
            state = without_streams(self._written(seq_id), self._num_streams, seq_id)
        else:
            size = C.llama_state_seq_get_size(self._context, seq_id)
            state = new_bytes(size)
            written = C.llama_state_seq_get_data(self._context, _address(state), size, seq_id)
            state = state if written == size else state[:written]
        if self.has_values_by_column and self.state_layout is not None:
            with writable(state) as view:
                turn_to_cells(np.frombuffer(view, np.uint8), self.state_layout)
        return state

    def set_state(self, seq_id: int, state: bytes, hole: int = 0) -> int:
        """Give an empty sequence cells that hold this. How many bytes were used, 0 if refused.

        The state's first `hole` positions are only there to take up cells. llama.cpp trusts a
        state in many ways: only one that was checked may come here.
        """
        if hole:
            self._holes[seq_id] = hole
        taken: bytes | NDArray[np.uint8] = state
        if self._num_streams > 1:
            taken = with_streams(state, self._num_streams)
        if self.has_values_by_column and self.state_layout is not None:
            if isinstance(taken, bytes):
                taken = np.array(np.frombuffer(taken, np.uint8))
            turn_to_columns(taken, self.state_layout)
        used = C.llama_state_seq_set_data(self._context, _address(taken), len(taken), seq_id)
        return int(used) - (len(taken) - len(state)) if used else 0

    def clear(self) -> None:
        """Forget everything, and overwrite what the cells held."""
        C.llama_memory_clear(self._memory, True)
        self._holes.clear()

    def close(self) -> None:
        if self._context is not None:
            C.llama_free(self._context)
            self._context = None

    def _written(self, seq_id: int) -> NDArray[np.uint8]:
        """What llama.cpp writes of a sequence."""
        size = C.llama_state_seq_get_size(self._context, seq_id)
        written = np.empty(size, np.uint8)
        return written[: C.llama_state_seq_get_data(self._context, _address(written), size, seq_id)]

    def _logits(self) -> Rows:
        pointer = self._get_rows(self._context)
        address = ctypes.addressof(pointer.contents)
        if address != self._rows_address:
            kind = ctypes.c_float * (self._shape[0] * self._shape[1])
            rows: Rows = np.ctypeslib.as_array(kind.from_address(address))
            self._rows, self._rows_address = rows.reshape(self._shape), address
        return self._rows


def _address(state: bytes | NDArray[np.uint8]) -> Any:
    pointer = ctypes.c_char_p(state) if isinstance(state, bytes) else state.ctypes.data
    return ctypes.cast(pointer, ctypes.POINTER(ctypes.c_uint8))


def _decode_error(status: int) -> RunnerError:
    if status == _NO_ROOM:
        return RunnerError("the KV cache has no room for the batch", code="NO_ROOM")
    if status == _ABORTED:
        return RunnerError("the computation was aborted", code="ABORTED")
    return RunnerError(f"llama_decode returned {status}")
