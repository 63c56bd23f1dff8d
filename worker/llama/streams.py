"""States of a context in which each sequence has a stream of cells of its own.

llama.cpp writes them with the number of cells in every other stream, which is 0. They are kept as a
context of one stream writes them, so that one may go on in any other. This holds for a memory of
one section of cells.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from worker.engine.cache.buffer import new_bytes, writable

_U32 = struct.Struct("<I")
_HEAD = 8  # magic, sequence; then comes the number of streams
_CELLS = _HEAD + _U32.size  # and then the cells of each


def without_streams(written: NDArray[np.uint8], num_streams: int, stream: int) -> bytes:
    """What was written of a sequence, as if there were but its stream. `written` is spoilt."""
    start, end = stream * _U32.size, len(written) - (num_streams - 1 - stream) * _U32.size
    written[start : start + _HEAD] = written[:_HEAD]
    written[start + _HEAD : start + _CELLS] = _octets(_U32.pack(1))
    state = new_bytes(end - start)
    with writable(state) as view:
        view[:] = written[start:end].data
    return state


def with_streams(state: bytes, num_streams: int) -> NDArray[np.uint8]:
    """A state of one stream for a context of several, which takes the cells from any of them."""
    size = len(state)
    written = np.empty(size + (num_streams - 1) * _U32.size, np.uint8)
    written[:size] = _octets(state)
    written[_HEAD:_CELLS] = _octets(_U32.pack(num_streams))
    written[size:] = 0
    return written


def _octets(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)
