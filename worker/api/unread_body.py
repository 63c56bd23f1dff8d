"""A refusal reaches also the client that is still sending its body."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MAX_BYTES = 64 << 20
_TIMEOUT_S = 10.0


class UnreadBody:
    """ASGI middleware: before an answer begins, reads what is left of the body and forgets it.

    The server closes a connection whose request was not read to its end. A client that is still
    writing then sees a reset, and never the answer that would have told it why.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Who expects a 100 has sent nothing, and sends nothing when told no.
        is_unread = "expect" not in Headers(scope=scope)

        async def noting_receive() -> Message:
            nonlocal is_unread
            message = await receive()
            is_unread = is_unread and message.get("more_body", False)
            return message

        async def draining_send(message: Message) -> None:
            if message["type"] == "http.response.start" and is_unread:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TIMEOUT_S):
                        await discard()
            await send(message)

        async def discard() -> None:
            size = 0
            while is_unread and size <= _MAX_BYTES:
                size += len((await noting_receive()).get("body", b""))

        await self._app(scope, noting_receive, draining_send)
