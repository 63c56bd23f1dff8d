"""One request's events on their way to the one who reads them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from worker.engine.events import EngineEvent, Failed, Finished, TokenEvent


class EventBuffer:
    """Events that were published and not yet read. Lives in the event loop; has one reader.

    It is bounded: of a reader that stops reading the tokens are dropped and the generation is to
    be cancelled, and the reader finds a Failed where the gap is.
    """

    __slots__ = ("_events", "_limit", "_reader", "has_overflown")

    def __init__(self, limit: int) -> None:
        self._events: deque[EngineEvent] = deque()
        self._limit = limit
        self._reader: asyncio.Future[None] | None = None
        self.has_overflown = False

    def put(self, event: EngineEvent) -> None:
        if isinstance(event, TokenEvent):
            self.has_overflown |= len(self._events) >= self._limit
            if self.has_overflown:
                return
        elif self.has_overflown:
            event = Failed(event.request_id, "SLOW_READER", "the reader stopped reading")
        self._events.append(event)
        # The reader runs when all that was published together is here.
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> EngineEvent:
        if not self._events:
            await self._arrival()
        return self._events.popleft()

    async def take(self) -> list[EngineEvent]:
        """Everything that is there; waits for at least one event."""
        if not self._events:
            await self._arrival()
        events = list(self._events)
        self._events.clear()
        return events

    async def _arrival(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None


class Generation:
    """The events of one request, one by one as an async iterator or as they came, together; the
    last one is terminal.

    Closing it, or losing it, before the end cancels the request.
    """

    def __init__(
        self,
        request_id: str,
        buffer: EventBuffer,
        cancel: Callable[[str], bool],
        num_prompt_tokens: int = 0,
    ) -> None:
        self.request_id = request_id
        self.num_prompt_tokens = num_prompt_tokens
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

    async def next_events(self) -> list[EngineEvent]:
        """All that has come since the last time, waiting if nothing has; none after the end."""
        if self._has_ended:
            return []
        events = await self._buffer.take()
        self._has_ended = not isinstance(events[-1], TokenEvent)
        return events

    def cancel(self) -> None:
        """Ask for the end now; it comes as a Finished like any other."""
        if not self._has_ended:
            self._cancel(self.request_id)

    async def aclose(self) -> None:
        self._close()

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._cancel(self.request_id)
