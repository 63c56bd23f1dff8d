"""The bridge from asyncio to the one thread that touches the Engine."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pool_core.errors import LlorchError
from worker.engine.agent_desk import AgentDesk
from worker.engine.blocks import LeakedBlocks
from worker.engine.engine import Engine
from worker.engine.errors import EngineBusy, EngineStopped, PromptTooLong
from worker.engine.events import EngineEvent, Failed, Finished, TokenEvent
from worker.engine.loop import EngineLoop
from worker.engine.request import GenerateRequest
from worker.engine.runner import ModelRunner
from worker.engine.side_work import Job, Pieces
from worker.engine.stats import EngineStats
from worker.engine.stream import EventBuffer, Generation
from worker.engine.watchdog import Watchdog

if TYPE_CHECKING:
    from worker.engine.cache.archive import Archive

log = logging.getLogger(__name__)

T = TypeVar("T")


class AsyncEngine:
    """Generates for asyncio. Its methods belong to the event loop in which `start` was called.

    `on_stuck` is told, in another thread, of a step that neither ends nor can be interrupted: the
    process is of no use any more. A `step_timeout_s` of 0 is none.
    """

    def __init__(
        self,
        runner: ModelRunner,
        *,
        archive: Archive | None = None,
        max_running: int | None = None,
        max_waiting: int = 64,
        max_buffered_events: int = 4096,
        drafts: bool = True,
        step_timeout_s: float = 300.0,
        on_stuck: Callable[[str], None] = log.critical,
    ) -> None:
        engine = Engine(runner, archive=archive, max_running=max_running, drafts=drafts)
        self._watchdog: Watchdog | None = None
        if step_timeout_s:
            self._watchdog = Watchdog(
                lambda: self.step_seconds, step_timeout_s, runner.interrupt, on_stuck
            )
        self._archive = archive
        self.agents = AgentDesk(self._ask, self.cancel, archive)
        self.max_sequence_tokens = engine.max_sequence_tokens
        self.max_prompt_tokens = engine.max_sequence_tokens - 1
        self._thread = EngineLoop(engine, self._publish)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.max_in_flight = engine.stats().slots + max_waiting
        self._max_buffered_events = max_buffered_events
        self._buffers: dict[str, EventBuffer] = {}
        self._on_end: dict[str, Callable[[Finished | Failed], None]] = {}
        self._num_computing = 0
        self._is_accepting = False
        self._is_idle = asyncio.Event()
        self._mean_request_s = 1.0

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_accepting = True
        self._is_idle.set()
        self._thread.start()
        if self._watchdog is not None:
            self._watchdog.start()

    async def stop(self, drain_s: float = 10.0) -> None:
        """Refuse new requests, let those in flight end, cancel what has not after `drain_s`.

        Then save what is worth it, for at most as long again.
        """
        self._is_accepting = False
        try:
            await asyncio.wait_for(self._is_idle.wait(), drain_s)
        except TimeoutError:
            for request_id in self._buffers:
                self.cancel(request_id)
            self._thread.drop_side_work()
            await self._is_idle.wait()
        self._thread.post(_keep_all)
        await asyncio.to_thread(self._thread.stop)
        if self._watchdog is not None:
            await asyncio.to_thread(self._watchdog.stop)
        if self._archive is not None:
            await asyncio.to_thread(self._archive.flush, drain_s)
            await asyncio.to_thread(self._archive.close)

    def generate(
        self, request: GenerateRequest, on_end: Callable[[Finished | Failed], None] | None = None
    ) -> Generation:
        """Queue the request; its events come from the iterator, the last of them terminal.

        `on_end` is told that one too, even if nobody reads it any more.
        Raises EngineStopped, PromptTooLong or EngineBusy at once. Closing the iterator cancels.
        """
        self._check(request)
        buffer = self._buffers[request.request_id] = EventBuffer(self._max_buffered_events)
        if on_end is not None:
            self._on_end[request.request_id] = on_end
        self._is_idle.clear()
        self._thread.post(lambda engine: engine.add(request))
        return Generation(request.request_id, buffer, self.cancel, len(request.prompt))

    async def compute(self, begin: Callable[[ModelRunner], Pieces[T]]) -> T:
        """The result of what `begin` begins, a piece of which is done after each step.

        Raises EngineStopped, EngineBusy or RunnerError. Cancelling drops it.
        """
        self._check_room()
        job = Job(begin)
        self._num_computing += 1
        self._is_idle.clear()
        self._thread.compute(job)
        try:
            return await job.outcome
        finally:
            self._num_computing -= 1
            self._note_idle()

    def cancel(self, request_id: str) -> bool:
        """Have it end with Finished(CANCELLED) before the next step; False if it is not known."""
        if request_id not in self._buffers:
            return False
        self._thread.post(lambda engine: engine.cancel(request_id))
        return True

    async def spill(self, agent: str) -> bool:
        """Move an idle agent out of the context, so that its next turn restores it; False when it
        is not there."""
        return await self._ask(lambda engine: engine.spill(agent))

    async def check_integrity(self) -> None:
        """Compare the ledger of blocks with the cache itself. Raises LeakedBlocks."""
        error = await self._ask(_leak)
        if error is not None:
            raise error

    def stats(self) -> EngineStats:
        """As of the last step; what is outside the context changes without one, and is read now."""
        stats = self._thread.stats
        if self._archive is None:
            return stats
        return replace(stats, cache=replace(stats.cache, archive=self._archive.stats()))

    @property
    def is_computing(self) -> bool:
        """Whether anything is asked for that is not a generation."""
        return self._num_computing > 0

    @property
    def step_seconds(self) -> float:
        """How long the step that is running has been; 0 between steps."""
        began = self._thread.step_began
        return 0.0 if began is None else time.monotonic() - began

    async def _ask(self, question: Callable[[Engine], T]) -> T:
        """What the engine's thread answers, between two steps, or raises. Raises EngineStopped."""
        if not self._is_accepting:
            raise EngineStopped
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def settle(set_it: Callable[[], None]) -> None:  # nobody may be waiting any more
            if not outcome.done():
                set_it()

        def command(engine: Engine) -> list[EngineEvent]:
            try:
                answer = question(engine)
            except Exception as error:
                loop.call_soon_threadsafe(settle, partial(outcome.set_exception, error))
                if not isinstance(error, LlorchError):
                    raise
            else:
                loop.call_soon_threadsafe(settle, partial(outcome.set_result, answer))
            return []

        self._thread.post(command)
        return await outcome

    def _check(self, request: GenerateRequest) -> None:
        if not 0 < len(request.prompt) <= self.max_prompt_tokens:
            raise PromptTooLong(len(request.prompt), self.max_prompt_tokens)
        self._check_room()
        assert request.request_id not in self._buffers, "request ids are unique"

    def _check_room(self) -> None:
        if not self._is_accepting:
            raise EngineStopped
        in_flight = len(self._buffers) + self._num_computing
        if in_flight >= self.max_in_flight:
            raise EngineBusy(in_flight, self._retry_after_s())

    def _note_idle(self) -> None:
        if not self._buffers and not self._num_computing:
            self._is_idle.set()

    def _retry_after_s(self) -> int:
        """When the queue is likely to have moved by as many requests as run at once."""
        return min(60, max(1, math.ceil(self._mean_request_s)))

    def _publish(self, events: list[EngineEvent]) -> None:
        """Called by the engine's thread: one crossing for all events of a step."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._deliver, events)
        except RuntimeError:  # the event loop is closed: nobody is left to read
            log.warning("%d events have no reader", len(events))

    def _deliver(self, events: list[EngineEvent]) -> None:
        for event in events:
            buffer = self._buffers[event.request_id]
            buffer.put(event)
            if not isinstance(event, TokenEvent):
                self._end(event)
            elif buffer.has_overflown:
                self.cancel(event.request_id)
        self._note_idle()

    def _end(self, event: Finished | Failed) -> None:
        del self._buffers[event.request_id]
        if (on_end := self._on_end.pop(event.request_id, None)) is not None:
            on_end(event)
        if isinstance(event, Finished):
            t = event.timings
            took = t.queued_s + t.prefill_s + t.decode_s
            self._mean_request_s += 0.1 * (took - self._mean_request_s)


def _keep_all(engine: Engine) -> list[EngineEvent]:
    engine.keep_all()
    return []


def _leak(engine: Engine) -> LeakedBlocks | None:
    try:
        engine.check_integrity()
    except LeakedBlocks as error:
        return error
    return None
