from __future__ import annotations

import sys

import pytest

from worker.engine.cache.buffer import new_bytes, writable


@pytest.mark.parametrize("size", [0, 1, 2, 4_096, (2 << 20) - 1, (7 << 20) + 5])
def test_what_is_written_is_what_it_holds(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    data = new_bytes(size)
    with writable(data) as view:
        assert len(view) == size
        view[:] = content
    assert data == content


def test_what_there_is_no_memory_for() -> None:
    with pytest.raises(MemoryError):
        new_bytes(sys.maxsize - 100)
