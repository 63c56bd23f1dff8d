"""Large blocks of memory go back to the system when they are freed."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
# Above what sampling copies for each token with a usual vocabulary, below a saved state.
_THRESHOLD_BYTES = 256 << 10


def return_large_blocks() -> bool:
    """Have glibc map every large block by itself; False where there is no glibc.

    By itself it would, after the first few, put blocks of up to 32 MiB into its heap, where the
    states of agents, all of different sizes, leave holes: a worker with a full RAM tier grew by a
    fifth in a few thousand turns.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES))
