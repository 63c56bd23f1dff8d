"""What the engine has done and is doing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.events import EngineEvent, Failed, Finished, FinishReason
from worker.engine.keeper import CacheKeeper
from worker.engine.residents import Residents

if TYPE_CHECKING:
    from worker.engine.cache.archive import Archive
    from worker.engine.cache.stats import ArchiveStats


@dataclass(slots=True)
class Totals:
    """What only grows. The engine's own, changed by nobody else."""

    steps: int = 0
    requests: int = 0
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    restored_tokens: int = 0
    tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    resets: int = 0
    reshapes: int = 0

    def count(self, events: Iterable[EngineEvent]) -> None:
        """Add what the ended requests among the events have cost."""
        for event in events:
            match event:
                case Finished(reason=reason, timings=timings):
                    self.cancelled += reason is FinishReason.CANCELLED
                    self.prompt_tokens += timings.prompt_tokens
                    self.cached_tokens += timings.cached_tokens
                    self.restored_tokens += timings.restored_tokens
                    self.tokens += timings.completion_tokens
                    self.drafted += timings.drafted
                    self.accepted += timings.accepted
                case Failed():
                    self.failed += 1


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How full the context is and what became of what left it. Bytes are outside the context.

    `level` is "ok", "high" from 80 % on, "critical" from 90 %, "full". `is_split` says whether
    each slot has cells of its own now. `failures` are states that could not be kept or restored,
    by reason. A useless restore brought nothing that could be built upon.
    """

    cells_used: int = 0
    cells_total: int = 0
    level: str = "ok"
    is_split: bool = False
    idle: int = 0
    idle_agents: int = 0
    saves_total: int = 0
    restores_total: int = 0
    useless_restores_total: int = 0
    evictions_total: int = 0
    preemptions_total: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    archive: ArchiveStats | None = None

    @classmethod
    def of(
        cls, residents: Residents, keeper: CacheKeeper, level: str, archive: Archive | None
    ) -> CacheStats:
        ledger, totals = residents.ledger, keeper.totals
        stored = None if archive is None else archive.stats()
        return cls(
            cells_used=ledger.used * CELLS_PER_BLOCK,
            cells_total=ledger.total * CELLS_PER_BLOCK,
            level=level,
            is_split=residents.layout.is_split,
            idle=len(residents.idle),
            idle_agents=sum(one.agent is not None for one in residents.idle.values()),
            saves_total=totals.saves,
            restores_total=totals.restores,
            useless_restores_total=totals.useless_restores,
            evictions_total=totals.evictions,
            preemptions_total=totals.preemptions,
            failures=totals.failures + Counter(stored.failures if stored else ()),
            archive=stored,
        )


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot taken between two steps. Totals count requests that have ended.

    `slots` is how many requests may run at once.
    """

    running: int = 0
    waiting: int = 0
    slots: int = 0
    steps_total: int = 0
    requests_total: int = 0
    failed_total: int = 0
    cancelled_total: int = 0
    prompt_tokens_total: int = 0
    cached_tokens_total: int = 0
    restored_tokens_total: int = 0
    tokens_total: int = 0
    drafted_total: int = 0
    accepted_total: int = 0
    resets_total: int = 0
    reshapes_total: int = 0
    cache: CacheStats = field(default_factory=CacheStats)

    @classmethod
    def of(cls, totals: Totals, **now: Any) -> EngineStats:
        return cls(
            steps_total=totals.steps,
            requests_total=totals.requests,
            failed_total=totals.failed,
            cancelled_total=totals.cancelled,
            prompt_tokens_total=totals.prompt_tokens,
            cached_tokens_total=totals.cached_tokens,
            restored_tokens_total=totals.restored_tokens,
            tokens_total=totals.tokens,
            drafted_total=totals.drafted,
            accepted_total=totals.accepted,
            resets_total=totals.resets,
            reshapes_total=totals.reshapes,
            **now,
        )
