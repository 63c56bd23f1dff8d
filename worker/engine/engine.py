"""The engine: admit, schedule, decode, update, retire."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from worker.engine.batch import Batch
from worker.engine.events import EngineEvent
from worker.engine.request import GenerateRequest
from worker.engine.runner import ModelRunner, RunnerError
from worker.engine.scheduler import Scheduler
from worker.engine.sequence import Sequence
from worker.engine.slots import CELLS_PER_BLOCK, SlotPool
from worker.engine.stats import EngineStats, Totals

log = logging.getLogger(__name__)


class Engine:
    """Generates for many requests at once on one model. Lives in one thread.

    Every request that was added ends in exactly one Finished or Failed, which `step`, `cancel` or
    `fail_all` returns.
    """

    def __init__(
        self, runner: ModelRunner, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._pool = SlotPool(runner.num_slots, runner.num_cells)
        self._scheduler = Scheduler(self._pool, runner.max_batch_tokens)
        self._totals = Totals()
        self._events: list[EngineEvent] = []  # kept here, so that an exception loses none
        total_cells = self._pool.total_blocks * CELLS_PER_BLOCK
        self.max_sequence_tokens = min(total_cells, runner.info.context_length)

    @property
    def has_work(self) -> bool:
        return self._scheduler.has_work

    def add(self, request: GenerateRequest) -> list[EngineEvent]:
        """Queue it. The caller has checked that the prompt fits and the id is not in use."""
        vocab, room = self._runner.vocab, self.max_sequence_tokens
        self._scheduler.add(Sequence(request, vocab, room, self._clock()))
        self._totals.requests += 1
        return []

    def cancel(self, request_id: str) -> list[EngineEvent]:
        """End a request now and free its slot; nothing when it has ended already."""
        self._events += self._scheduler.cancel(request_id, self._clock())
        return self._settle()

    def step(self) -> list[EngineEvent]:
        """Let everyone who runs go on by a token, or by a piece of their prompt."""
        for seq in self._scheduler.admit(self._clock()):
            self._start(seq)
        for batch in self._scheduler.schedule():
            self._compute(batch)
        self._totals.steps += 1
        return self._settle()

    def fail_all(self, code: str, message: str) -> list[EngineEvent]:
        """End everything, running or waiting, after an error nobody foresaw."""
        self._events += self._scheduler.fail_all(code, message)
        events = self._settle()
        self._runner.clear()
        return events

    def stats(self) -> EngineStats:
        totals = self._totals
        return EngineStats(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            slots=self._pool.num_slots,
            cells_used=self._pool.used_blocks * CELLS_PER_BLOCK,
            cells_total=self._pool.total_blocks * CELLS_PER_BLOCK,
            steps_total=totals.steps,
            requests_total=totals.requests,
            failed_total=totals.failed,
            cancelled_total=totals.cancelled,
            prompt_tokens_total=totals.prompt_tokens,
            tokens_total=totals.tokens,
        )

    def _start(self, seq: Sequence) -> None:
        try:
            self._runner.start(seq.slot, seq.request, seq.max_cells)
        except RunnerError as error:
            log.error("a sequence could not start: %s", error)
            self._events.append(seq.fail(error.code, str(error), retriable=error.retriable))

    def _compute(self, batch: Batch) -> None:
        """Decode and sample one batch. An error ends its sequences and nobody else's."""
        try:
            samples = self._runner.decode(batch)
        except RunnerError as error:
            log.error("a batch of %d sequences failed: %s", len(batch.items), error)
            code, retriable = error.code, error.retriable
            self._events += self._scheduler.fail(batch, code, str(error), retriable=retriable)
        else:
            self._events += self._scheduler.update(batch, samples, self._clock())

    def _settle(self) -> list[EngineEvent]:
        """Give back the slots of those that have ended, and hand over what happened."""
        for slot in self._scheduler.retire():
            self._runner.release(slot)
        events, self._events = self._events, []
        self._totals.count(events)
        return events
