"""Server-sent events: encoding, pings, and a response that notices when its client leaves."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

T = TypeVar("T")

PING = b": ping\n\n"
PING_EVERY_S = 15.0
DONE = b"data: [DONE]\n\n"


def to_json(value: Any) -> str:
    """Compact JSON, readable in any language, that no client can mistake for two lines.

    Some clients split a stream with str.splitlines, which also splits at NEL, LS and PS.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def json_logprob(value: float) -> float:
    """JSON has no infinity; OpenAI's stand-in for "as good as impossible" is -9999."""
    return max(value, -9999.0)


def encode(value: Any) -> bytes:
    """One event without a name."""
    return f"data: {to_json(value)}\n\n".encode()


async def with_pings(
    chunks: AsyncGenerator[bytes, None], every_s: float = PING_EVERY_S
) -> AsyncGenerator[bytes, None]:
    """The same chunks, and a comment whenever `every_s` seconds pass without one."""
    upcoming: asyncio.Future[bytes] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(chunks))
            if not (await asyncio.wait({upcoming}, timeout=every_s))[0]:
                yield PING
                continue
            try:
                chunk = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            yield chunk
    finally:
        if upcoming is not None:
            await _cancel(upcoming)
        await chunks.aclose()


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled as soon as the client goes away.

    The request's body must have been read. Raises ClientDisconnect.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        await _cancel(task, gone)


class EventStream(Response):
    """Sends what `chunks` yields; closes `chunks` when they end or the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self.status_code = 200
        self.background = None
        self._chunks = chunks
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self._send_all(send))
        except ClientDisconnect:
            log.info("the client left in mid-stream")
        finally:
            await self._chunks.aclose()

    async def _send_all(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
