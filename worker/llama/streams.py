"""States of a context in which each sequence has a stream of cells of its own.

llama.cpp writes them with the counts of all the other streams, which are 0. Kept are they in the
form that a context of one stream writes, so that one may go on in any other. It holds for a
memory of one section of cells.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_U32 = struct.Struct("<I")
_HEAD = 8  # magic, sequence; then come the number of streams, and each stream's cells


def without_streams(written: NDArray[np.uint8], num_streams: int, stream: int) -> bytes:
    """What was written of a sequence, as if there were but its stream. `written` is spoilt."""
    start, end = stream * _U32.size, len(written) - (num_streams - 1 - stream) * _U32.size
    head = written[:_HEAD].tobytes() + _U32.pack(1)
    written[start : start + len(head)] = np.frombuffer(head, np.uint8)
    return written[start:end].tobytes()


def with_streams(state: bytes, num_streams: int) -> bytes:
    """A state of one stream for a context of several, which takes the cells from any of them."""
    cells = memoryview(state)[_HEAD + _U32.size :]
    return b"".join(
        (state[:_HEAD], _U32.pack(num_streams), cells, bytes((num_streams - 1) * _U32.size))
    )
