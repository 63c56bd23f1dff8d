"""Bytes objects to be filled in place, which saves copying states of many megabytes."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_HUGE_PAGE = 2 << 20

_new = ctypes.pythonapi.PyBytes_FromStringAndSize
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_ssize_t]


def _find_advice() -> Any:
    """The system's way to ask for huge pages; None where there is none."""
    function = getattr(ctypes.CDLL(None), "madvise", None)
    if function is not None:
        function.restype = ctypes.c_int
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function if hasattr(mmap, "MADV_HUGEPAGE") else None


_advise = _find_advice()


def new_bytes(size: int) -> bytes:
    """Of any content, to be filled before anybody else sees it. Raises MemoryError."""
    data: bytes = _new(None, size)
    address = _address(data)
    start = -(-address // _HUGE_PAGE) * _HUGE_PAGE
    end = (address + size) // _HUGE_PAGE * _HUGE_PAGE
    if _advise is not None and start < end:
        # In pages of 4 KiB the faults take longer than the reading. What is refused is no loss.
        _advise(start, end - start, mmap.MADV_HUGEPAGE)
    return data


@contextmanager
def writable(data: bytes) -> Iterator[memoryview]:
    """The memory of what `new_bytes` gave."""
    memory = (ctypes.c_char * len(data)).from_address(_address(data))
    with memoryview(memory) as view, view.cast("B") as octets:
        yield octets


def _address(data: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
