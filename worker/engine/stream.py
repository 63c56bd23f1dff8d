"""One request's events on their way to the one who reads them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from worker.engine.events import EngineEvent, Failed, Finished, TokenEvent


class EventBuffer:
    """Events that were published and not yet read. Lives in the event loop.

    It is bounded: of a reader that stops reading the tokens are dropped and the generation is to
    be cancelled, and the reader finds a Failed where the gap is.
    """

    def __init__(self, limit: int) -> None:
        self._events: deque[EngineEvent] = deque()
        self._limit = limit
        self._ready = asyncio.Event()
        self.has_overflown = False

    def put(self, event: EngineEvent) -> None:
        if isinstance(event, TokenEvent):
            self.has_overflown |= len(self._events) >= self._limit
            if self.has_overflown:
                return
        elif self.has_overflown:
            event = Failed(event.request_id, "SLOW_READER", "the reader stopped reading")
        self._events.append(event)
        self._ready.set()

    async def get(self) -> EngineEvent:
        while not self._events:
            self._ready.clear()
            await self._ready.wait()
        return self._events.popleft()


class Generation:
    """The events of one request, as an async iterator that ends after the terminal one.

    Closing it, or losing it, before the end cancels the request.
    """

    def __init__(self, request_id: str, buffer: EventBuffer, cancel: Callable[[str], bool]) -> None:
        self.request_id = request_id
        self._buffer = buffer
        self._cancel = cancel
        self._has_ended = False

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> EngineEvent:
        if self._has_ended:
            raise StopAsyncIteration
        event = await self._buffer.get()
        self._has_ended = isinstance(event, Finished | Failed)
        return event

    async def aclose(self) -> None:
        self._close()

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._cancel(self.request_id)
