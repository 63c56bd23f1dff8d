"""The engine: receive, admit, schedule, compute, settle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.engine.agents import Agents
from worker.engine.batch import Batch, BatchItem
from worker.engine.blocks import CELLS_PER_BLOCK, LeakedBlocks
from worker.engine.events import EngineEvent, Failed
from worker.engine.housekeeping import Housekeeping
from worker.engine.intake import Intake
from worker.engine.keeper import CacheKeeper
from worker.engine.layouts import LayoutChoice
from worker.engine.pace import Pace
from worker.engine.plans import Planner
from worker.engine.request import GenerateRequest
from worker.engine.residents import Residents
from worker.engine.runner import Layout, ModelRunner, RunnerError, Sample
from worker.engine.scheduler import Scheduler
from worker.engine.sequence import Sequence
from worker.engine.speculation import Speculation
from worker.engine.stats import CacheStats, EngineStats, Totals

if TYPE_CHECKING:
    from worker.engine.cache.archive import Archive

log = logging.getLogger(__name__)

_HARMLESS = ("NO_ROOM", "OUT_OF_MEMORY")  # the context is as it was


class Engine:
    """Generates for many requests at once on one model. Lives in one thread.

    Every request that was added ends in exactly one Finished or Failed, which `step`, `cancel` or
    `fail_all` returns. `on_arrival` is called, from any thread, when there is work again for an
    engine that had none.
    """

    def __init__(
        self,
        runner: ModelRunner,
        *,
        archive: Archive | None = None,
        max_running: int | None = None,
        drafts: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._archive = archive
        self._residents = Residents(runner.layout)
        self._keeper = CacheKeeper(runner, self._residents, archive, clock)
        num_slots = min(layout.num_slots for layout in runner.layouts)
        self._housekeeping = Housekeeping(self._residents, self._keeper, archive, clock)
        self._scheduler = Scheduler(runner.max_batch_tokens, max_running or num_slots)
        self.agents = Agents(self._residents, self._scheduler, self._keeper, archive)
        self._layouts = LayoutChoice(runner.layouts)
        planner = Planner(
            self._residents,
            runner.can_reuse,
            archive,
            can_cut=runner.memory.kind == "full",
            max_cells=max(layout.slot_cells for layout in runner.layouts),
        )
        self._intake = Intake(
            self._scheduler,
            self._residents,
            self._keeper,
            planner,
            self._layouts,
            reshape=self._reshape,
            on_error=self._on_start_error,
            clock=clock,
        )
        can_draft = drafts and runner.memory.can_trim
        self._speculation = Speculation(runner.max_rows) if can_draft else None
        self._pace = Pace()
        self._totals = Totals()
        self._events: list[EngineEvent] = []  # kept here, so that an exception loses none
        self._is_stalled = False
        blocks = max(layout.slot_cells for layout in runner.layouts) // CELLS_PER_BLOCK
        self.max_sequence_tokens = min(blocks * CELLS_PER_BLOCK, runner.info.context_length)

    @property
    def runner(self) -> ModelRunner:
        return self._runner

    @property
    def has_work(self) -> bool:
        """Whether a step would bring anybody on."""
        if self._scheduler.running or self._keeper.has_arrivals:
            return True
        return bool(self._scheduler.waiting) and not self._is_stalled

    @property
    def is_empty(self) -> bool:
        return not self._scheduler.running and not self._scheduler.waiting

    def on_arrival(self, wake: Callable[[], None]) -> None:
        """Have `wake` called whenever something that was waited for has come."""
        self._keeper.on_arrival = wake

    def add(self, request: GenerateRequest) -> list[EngineEvent]:
        """Queue it. The caller has checked that the prompt fits and the id is not in use."""
        self._totals.requests += 1
        try:
            sampler = self._runner.make_sampler(request)
        except RunnerError as error:
            self._totals.failed += 1
            return [Failed(request.request_id, error.code, str(error), error.retriable)]
        room = self.max_sequence_tokens
        self._scheduler.add(Sequence(request, sampler, self._runner.vocab, room, self._clock()))
        self._is_stalled = False
        self.agents.note(request)
        return []

    def cancel(self, request_id: str) -> list[EngineEvent]:
        """End a request now and free its slot; nothing when it has ended already."""
        self._events += self._scheduler.cancel(request_id, self._clock())
        return self._settle()

    def step(self) -> list[EngineEvent]:
        """Let everyone who runs go on by a token, or by a piece of their prompt."""
        self._keeper.receive()
        has_started = self._intake.admit()
        self._is_stalled = not has_started and not self._scheduler.running
        self._housekeeping.tidy()
        for batch in self._schedule():
            if batch.items[0].seq.home is not None:  # an error before it may have taken its cells
                self._compute(batch)
        self._totals.steps += 1
        return self._settle()

    def fail_all(self, code: str, message: str) -> list[EngineEvent]:
        """End everything, running or waiting, after an error nobody foresaw."""
        everyone = [*self._scheduler.running, *self._scheduler.waiting]
        self._events += self._fail(everyone, RunnerError(message, code=code))
        self._reset()
        return self._settle()

    # Between requests

    @property
    def has_chores(self) -> bool:
        return self._housekeeping.has_chores or self._residents.layout != self._layouts.usual

    def do_chore(self) -> None:
        """Save or move out one idle sequence, or go back to the usual layout, while nobody waits
        for anything."""
        if self._housekeeping.has_chores:
            self._housekeeping.do_chore()
        elif self._layouts.may_return(self._clock()):
            self._reshape(self._layouts.usual)

    def keep_all(self) -> None:
        """Hand everything worth keeping over to the disk, before the end."""
        self._housekeeping.keep_all()

    def spill(self, agent: str) -> bool:
        """Move an idle agent out of the context; False when it is not in it."""
        return self._housekeeping.spill(agent)

    def check_integrity(self) -> None:
        """Raises LeakedBlocks when the ledger and the runner's own cache disagree."""
        self._residents.check()
        for one in [*self._residents.running.values(), *self._residents.idle.values()]:
            held = self._runner.num_cached(one.slot)
            if held != one.length:
                raise LeakedBlocks(f"slot {one.slot} holds {held} positions, not {one.length}")
        slots = self._residents.running.keys() | self._residents.idle.keys()
        for slot in set(range(self._runner.layout.num_slots)) - slots:
            if self._runner.num_cached(slot):
                raise LeakedBlocks(f"slot {slot} is free and not empty")

    def stats(self) -> EngineStats:
        residents, scheduler = self._residents, self._scheduler
        return EngineStats.of(
            self._totals,
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            slots=scheduler.max_running,
            cache=CacheStats.of(residents, self._keeper, self._housekeeping.level, self._archive),
        )

    # One step

    def _reshape(self, layout: Layout) -> bool:
        """Change the layout, with everybody's state kept outside meanwhile; False when somebody
        computes in a context of its own, which would not survive it."""
        if any(seq.is_isolated for seq in self._scheduler.running):
            return False
        for seq in list(reversed(self._scheduler.running)):
            self._scheduler.put_back(seq)
            self._keeper.park(seq)
        self._keeper.evict_all()
        self._residents.reshape(layout)
        self._totals.reshapes += 1
        try:
            self._runner.reshape(layout)
        except RunnerError as error:
            self._fail_everyone(error)
            return False
        return True

    def _schedule(self) -> list[Batch]:
        decoding = [seq for seq in self._scheduler.running if seq.is_decoding]
        if not decoding:
            return self._scheduler.schedule(())
        drafts: dict[str, list[int]] = {}
        if self._speculation is not None and len(decoding) == len(self._scheduler.running):
            slot_cells = self._residents.layout.slot_cells
            drafts = self._speculation.propose(decoding, slot_cells)
        items = []
        for seq in decoding:
            draft = drafts.get(seq.id, [])
            if self._can_grow(seq, 1 + len(draft)):
                tokens = [seq.tokens[-1], *draft]
                items.append(BatchItem(seq, seq.slot, seq.num_computed, tokens, True, len(draft)))
        # Room for one may have been made at the cost of another.
        items = [item for item in items if item.seq.home is not None]
        return self._scheduler.schedule(items, self._pace.prompt_tokens)

    def _can_grow(self, seq: Sequence, cells: int) -> bool:
        """Room for so many more cells, if need be by moving others out; False when it had to go
        itself: as the newest, or because no slot of this layout is large enough."""
        residents = self._residents
        while seq.home is not None and not residents.extend(seq.home, seq.home.length + cells):
            fits = residents.can_hold(seq.home.length + cells, isolated=seq.is_isolated)
            if fits and self._keeper.make_room(1):
                continue
            victim = self._scheduler.newest_ordinary() if fits else None
            self._scheduler.put_back(victim or seq)
            self._keeper.park(victim or seq)
        return seq.home is not None

    def _compute(self, batch: Batch) -> None:
        """Decode and sample one batch. An error ends its sequences and nobody else's."""
        began = self._clock()
        try:
            samples = self._runner.decode(batch)
        except RunnerError as error:
            self._on_error(batch, error)
            return
        now = self._clock()
        self._pace.note(batch, now - began)
        if self._speculation is not None:
            self._speculation.note_step(batch, now - began)
        self._update(batch, samples, now)

    def _update(self, batch: Batch, samples: list[list[Sample]], now: float) -> None:
        results = iter(samples)
        for item in batch.items:
            seq, home = item.seq, item.seq.home
            assert home is not None, "only who has a slot is computed"
            if not item.sampled:
                home.length += len(item.tokens)
            else:
                chosen = next(results)
                self._events += seq.accept(chosen, now)
                right = len(item.tokens) - item.num_drafts - 1 + len(chosen)
                home.length = min(item.start + right, len(seq.tokens))
                if home.length < item.start + len(item.tokens):
                    self._runner.trim(item.slot, home.length)
                if self._speculation is not None and not seq.is_isolated:
                    self._speculation.note_result(item, chosen)
            if seq.is_isolated and home.length == seq.exact_length > seq.cached_tokens:
                self._keeper.save_exact(seq)

    def _on_start_error(self, seq: Sequence, error: RunnerError) -> None:
        log.error("a sequence could not start: %s", error)
        self._events += self._fail([seq], error)

    def _on_error(self, batch: Batch, error: RunnerError) -> None:
        log.error("a batch of %d sequences failed: %s", len(batch.items), error)
        seqs = [item.seq for item in batch.items]
        self._events += self._fail(seqs, error)
        if seqs[0].is_isolated or error.code in _HARMLESS:
            return
        # The others' cells are gone with the context. An ordinary sequence is computed anew; a
        # reproducible one would not come out the same.
        rest = [seq for seq in self._scheduler.running if not seq.has_ended]
        self._events += self._fail([seq for seq in rest if seq.is_isolated], error)
        for seq in reversed([seq for seq in rest if not seq.is_isolated]):
            self._scheduler.put_back(seq)
            seq.park()
        self._reset()

    def _reset(self) -> None:
        for seq in self._scheduler.running:
            seq.home = None
        self._keeper.forget_all()
        self._totals.resets += 1
        try:
            self._runner.reset()
        except RunnerError as error:
            self._fail_everyone(error)

    def _fail_everyone(self, error: RunnerError) -> None:
        log.error("the context could not be made anew: %s", error)
        everyone = [*self._scheduler.running, *self._scheduler.waiting]
        self._events += self._fail(everyone, error)

    def _fail(self, seqs: list[Sequence], error: RunnerError) -> list[EngineEvent]:
        """End them. What they have computed is not to be trusted."""
        events: list[EngineEvent] = []
        for seq in seqs:
            if not seq.has_ended:
                events.append(seq.fail(error.code, str(error), retriable=error.retriable))
                self._keeper.discard(seq)
        return events

    def _settle(self) -> list[EngineEvent]:
        """Give back or keep the slots of those that have ended; hand over what happened."""
        for seq in self._scheduler.retire():
            self._keeper.keep(seq)
        events, self._events = self._events, []
        self._totals.count(events)
        self.agents.count(events)
        return events
