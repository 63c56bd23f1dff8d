"""Who may start now, and making room for them."""

from __future__ import annotations

from collections.abc import Callable

from worker.engine.keeper import CacheKeeper
from worker.engine.layouts import LayoutChoice
from worker.engine.plans import Follow, Planner, Start
from worker.engine.residents import Residents
from worker.engine.runner import Layout, RunnerError
from worker.engine.scheduler import Scheduler
from worker.engine.sequence import Sequence


class Intake:
    """Takes sequences from the queue into the context.

    `reshape` changes the context's layout, or says False; `on_error` hears of one that could not
    start.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        residents: Residents,
        keeper: CacheKeeper,
        planner: Planner,
        layouts: LayoutChoice,
        *,
        reshape: Callable[[Layout], bool],
        on_error: Callable[[Sequence, RunnerError], None],
        clock: Callable[[], float],
    ) -> None:
        self._scheduler = scheduler
        self._residents = residents
        self._keeper = keeper
        self._planner = planner
        self._layouts = layouts
        self._reshape = reshape
        self._on_error = on_error
        self._clock = clock

    def admit(self) -> bool:
        """Start those who may, in the queue's order, as long as there is room; whether any did.

        Who finds no room keeps everybody behind them waiting, so that small requests never
        overtake a large one.
        """
        has_started = False
        for seq in self._scheduler.candidates():
            if self._scheduler.is_full:
                break
            plan = self._plan(seq)
            while plan is not None and not self._has_room(seq, plan):
                if not self._can_make_way(seq, plan):
                    break
                plan = self._plan(seq)
            else:
                if plan is not None:
                    self._start(seq, plan)
                    has_started = True
                continue
            break
        return has_started

    def _plan(self, seq: Sequence) -> Start | None:
        """How it starts; None when there is something to wait for first."""
        while True:
            plan = self._planner.plan(seq, self._scheduler.running)
            if isinstance(plan, Follow):
                seq.leader, seq.leader_length = plan.leader, plan.length
                return None
            if isinstance(plan, Start):
                return plan
            self._keeper.fetch(seq, plan.key)
            self._keeper.receive()
            if seq.is_loading:
                return None

    def _has_room(self, seq: Sequence, plan: Start) -> bool:
        if not self._residents.can_hold(plan.cells, isolated=seq.is_isolated):
            return False
        keeper, source = self._keeper, plan.source
        if not keeper.leaves_headroom(plan.blocks) or not keeper.make_room(
            plan.blocks, spare=source
        ):
            return False
        return plan.resumes or keeper.make_slot(isolated=seq.is_isolated, spare=source)

    def _can_make_way(self, seq: Sequence, plan: Start) -> bool:
        """Whether more could be done for it, which has then been done: another layout, if it does
        not fit into a slot of this one, or moving out the idle one it was to build upon."""
        if not self._residents.can_hold(plan.cells, isolated=seq.is_isolated):
            return self._reshape(self._layouts.largest)
        source = plan.source
        if source is None or plan.resumes or source.slot not in self._residents.idle:
            return False
        if not self._keeper.leaves_headroom(plan.blocks):
            return False
        self._keeper.evict(source)
        return True

    def _start(self, seq: Sequence, plan: Start) -> None:
        self._scheduler.start(seq)
        self._layouts.note(plan.cells, self._clock())
        try:
            self._keeper.occupy(seq, plan)
        except RunnerError as error:
            self._on_error(seq, error)
