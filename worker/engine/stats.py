"""What the engine has done and is doing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.engine.events import EngineEvent, Failed, Finished, FinishReason


@dataclass(slots=True)
class Totals:
    """What only grows. The engine's own, changed by nobody else."""

    steps: int = 0
    requests: int = 0
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    tokens: int = 0

    def count(self, events: Iterable[EngineEvent]) -> None:
        """Add what the ended requests among the events have cost."""
        for event in events:
            match event:
                case Finished(reason=reason, timings=timings):
                    self.cancelled += reason is FinishReason.CANCELLED
                    self.prompt_tokens += timings.prompt_tokens
                    self.tokens += timings.completion_tokens
                case Failed():
                    self.failed += 1


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot taken between two steps. Totals count requests that have ended."""

    running: int = 0
    waiting: int = 0
    slots: int = 0
    cells_used: int = 0
    cells_total: int = 0
    steps_total: int = 0
    requests_total: int = 0
    failed_total: int = 0
    cancelled_total: int = 0
    prompt_tokens_total: int = 0
    tokens_total: int = 0
