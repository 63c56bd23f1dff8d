"""Reading a header forwards, in blocks, never trusting a length that the file claims."""

from __future__ import annotations

from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO

from pool_core.gguf.errors import HeaderError
from pool_core.gguf.types import U64

_FIRST_BLOCK = 1 << 14  # the facts before a tokenizer fit in it
_BLOCK = 1 << 20
_MAX_STRING = 1 << 24
_MAX_SKIPPED = 1 << 23  # strings in all arrays together; the largest vocabularies hold 1 << 20


class Cursor:
    """A position in a file of `size` bytes. Every method raises HeaderError at its end.

    At most one block, or one string of 16 MiB, is in memory.
    """

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self._file = file
        self._size = size
        self._path = path
        self._buffer = b""
        self._base = 0  # offset of the buffer in the file
        self._next = 0  # position in the buffer; beyond its end after a skip
        self._skipped = 0

    @property
    def offset(self) -> int:
        return self._base + self._next

    def error(self, expected: str, found: str) -> HeaderError:
        return HeaderError(self._path, expected, found)

    def read(self, struct: Struct, what: str) -> Any:
        """The one value that `struct` describes."""
        self._need(struct.size, what)
        value = struct.unpack_from(self._buffer, self._next)[0]
        self._next += struct.size
        return value

    def take(self, count: int, what: str) -> bytes:
        self._need(count, what)
        data = self._buffer[self._next : self._next + count]
        self._next += count
        return data

    def string(self, what: str, longest: int = _MAX_STRING) -> str:
        """A length and that many bytes of UTF-8; what is not UTF-8 is replaced."""
        length = self.read(U64, what)
        if length > longest:
            raise self.error(f"{what} of at most {longest} bytes", f"{length} at {self.offset}")
        return self.take(length, what).decode("utf-8", errors="replace")

    def skip(self, count: int, what: str) -> None:
        if self.offset + count > self._size:
            raise self._cut_short(what, count)
        self._next += count

    def skip_strings(self, count: int, what: str) -> None:
        """Pass over `count` strings without making them; the hot loop of a whole vocabulary."""
        self._skipped += count
        if self._skipped > _MAX_SKIPPED:
            raise self.error(f"at most {_MAX_SKIPPED} texts", f"{self._skipped} in {what}")
        unpack = U64.unpack_from
        while count:
            self._need(8, what)
            buffer, position = self._buffer, self._next
            last = len(buffer) - 8
            while count and position <= last:
                position += 8 + unpack(buffer, position)[0]
                count -= 1
            self._next = position
            if self.offset > self._size:
                raise self._cut_short(what, 0)

    def _need(self, count: int, what: str) -> None:
        """Have `count` bytes from here in the buffer."""
        if self._next + count <= len(self._buffer):
            return
        start = self.offset
        if start + count > self._size:
            raise self._cut_short(what, count)
        block = _BLOCK if self._base or self._buffer else _FIRST_BLOCK
        self._file.seek(start)
        self._buffer = self._file.read(max(count, block))
        self._base, self._next = start, 0
        if len(self._buffer) < count:  # the file shrank while it was read
            raise self._cut_short(what, count)

    def _cut_short(self, what: str, count: int) -> HeaderError:
        return self.error(f"{what} at byte {self.offset}", f"the end of the file at {self._size}")
