"""Large bodies on their way in and out: few at a time, in bounded memory, and never for ever."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import IO, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.api.errors import ApiError
from worker.api.sse import while_connected

IDLE_S = 30.0  # without a byte
MAX_TRANSFERS = 2
_PIECE = 1 << 20

T = TypeVar("T")


class Transfers:
    """How many are on their way. Touched by the event loop only."""

    def __init__(self) -> None:
        self.count = 0

    def begin(self) -> None:
        """Raises ApiError 429."""
        if self.count >= MAX_TRANSFERS:
            message = f"{MAX_TRANSFERS} cache files are on their way already"
            raise ApiError(429, "BUSY", message, retry_after_s=5)
        self.count += 1

    def end(self) -> None:
        self.count -= 1

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises ApiError 429."""
        self.begin()
        try:
            yield
        finally:
            self.end()


class Download(Response):
    """Sends `parts`, one after the other, in pieces; ends its transfer, which the caller began.

    A client that takes no piece for `IDLE_S` seconds is left.
    """

    media_type = "application/octet-stream"

    def __init__(self, parts: list[bytes], file_name: str, transfers: Transfers) -> None:
        self.status_code = 200
        self.background = None
        self._parts = parts
        self._transfers = transfers
        self.init_headers(
            {
                "content-length": str(sum(map(len, parts))),
                "content-disposition": f'attachment; filename="{file_name}"',
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send_all(send))
        except (ClientDisconnect, TimeoutError):
            pass
        finally:
            self._transfers.end()

    async def _send_all(self, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for part in self._parts:
            view = memoryview(part)
            while view:
                piece, view = bytes(view[:_PIECE]), view[_PIECE:]
                async with asyncio.timeout(IDLE_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@asynccontextmanager
async def spooled(
    request: Request, max_bytes: int, folder: Path | None
) -> AsyncGenerator[tuple[FileIO, int], None]:
    """The request's body in a file without a name, at its beginning, and its size.

    Raises ApiError: 408 when nothing comes any more, 413 and 507 when there is no room.
    """
    file = await _on_disk(lambda: tempfile.TemporaryFile(dir=folder))
    try:
        size = 0
        async for piece in _pieces(request):
            size += len(piece)
            if size > max_bytes:
                raise too_large(max_bytes)
            await _on_disk(partial(file.write, piece))
        await _on_disk(file.flush)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield FileIO(file.fileno(), "rb", closefd=False), size
    finally:
        await asyncio.to_thread(_close, file)


def too_large(max_bytes: int) -> ApiError:
    message = f"the file is larger than the {max_bytes} bytes that can be kept"
    return ApiError(413, "BODY_TOO_LARGE", message, limit=max_bytes)


async def _pieces(request: Request) -> AsyncGenerator[bytes, None]:
    chunks = aiter(request.stream())
    gathered = bytearray()
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                gathered += await anext(chunks)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise ApiError(408, "BODY_TIMEOUT", "the body did not arrive in time") from None
        if len(gathered) >= _PIECE:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


async def _on_disk(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        message = f"the file cannot be taken in: {error.strerror or error}"
        raise ApiError(507, "INSUFFICIENT_STORAGE", message) from None


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # what could not be written is not wanted any more
        file.close()
