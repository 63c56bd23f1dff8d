"""uvicorn as this worker uses it: no signal handlers, and bounds on a request's head."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker.limits import Limits

_KEEP_ALIVE_S = 75
_FLUSH_S = 3  # for answers that are complete but not yet read
_REFUSAL = (
    b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
)


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: stopping begins with the engine, not the socket."""

    def __init__(self, app: ASGIApp, limits: Limits | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(BoundedProtocol, limits=limits or Limits()),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_FLUSH_S,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class BoundedProtocol(HttpToolsProtocol):
    """A head that is too long, or too long in coming, ends its connection: uvicorn alone would
    keep all of it, and wait for it for ever."""

    def __init__(self, *args: object, limits: Limits, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._limits = limits
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # What the parser holds back, in the middle of a header, is counted as it comes.
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > self._limits.max_headers:
            self._refuse(b"431 Request Header Fields Too Large", b"the headers are too large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        if self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self._limits.header_timeout_s, self._on_deadline)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._refuse(b"408 Request Timeout", b"the headers did not arrive in time")

    def _refuse(self, status: bytes, reason: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(_REFUSAL % (status, len(reason), reason))
            self.transport.close()
