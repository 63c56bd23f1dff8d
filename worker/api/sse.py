"""Server-sent events: encoding, and a response that pings and notices when its client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.api.json_text import to_json

log = logging.getLogger(__name__)

T = TypeVar("T")

PING = b": ping\n\n"
PING_EVERY_S = 15.0
DONE = b"data: [DONE]\n\n"


def encode(value: Any) -> bytes:
    """One event without a name."""
    return b"data: %b\n\n" % to_json(value)


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
    """Sends what `chunks` yields, each piece one write of whole events; closes `chunks` when they
    end or the client goes away.

    `ping`, a comment unless told otherwise, is sent whenever `ping_every_s` seconds pass without a
    chunk; None sends none. A client that reads slowly is waited for, and `chunks` with it.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        ping_every_s: float | None = None,
        ping: bytes = PING,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._chunks = chunks
        self._ping_every_s = ping_every_s
        self._ping_event = ping
        self._sent_at = 0.0
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
        now = asyncio.get_running_loop().time
        self._sent_at = now()
        # One task for the whole stream: a token costs it no more than a look at the clock.
        pings = [] if self._ping_every_s is None else [asyncio.ensure_future(self._ping(send))]
        try:
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._sent_at = now()
        finally:
            await _cancel(*pings)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ping(self, send: Send) -> None:
        assert self._ping_every_s is not None
        now = asyncio.get_running_loop().time
        while True:
            left = self._sent_at + self._ping_every_s - now()
            if left > 0:
                await asyncio.sleep(left)
                continue
            await send({"type": "http.response.body", "body": self._ping_event, "more_body": True})
            self._sent_at = now()


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
