"""Lines out of a byte stream that may hold anything."""

from __future__ import annotations

from collections.abc import Iterator

from pool_core.protocol import MAX_LINE_BYTES


class LineSplitter:
    """Feeds on chunks, yields whole lines without their end.

    Bytes that are not UTF-8 become U+FFFD. A line over the limit is skipped, however long it
    is, and counted in `num_too_long`, so memory stays bounded.
    """

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self.num_too_long = 0
        self._limit = limit
        self._pending = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[str]:
        *complete, rest = data.split(b"\n")
        for part in complete:
            self._pending += part
            line = self._take()
            if line is not None:
                yield line
        self._pending += rest
        if len(self._pending) > self._limit:
            self._skipping = True
            self._pending.clear()

    def _take(self) -> str | None:
        line = bytes(self._pending)
        too_long = self._skipping or len(line) > self._limit
        self._pending.clear()
        self._skipping = False
        if too_long:
            self.num_too_long += 1
            return None
        return line.decode("utf-8", "replace").removesuffix("\r")
