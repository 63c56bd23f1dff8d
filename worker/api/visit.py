"""What the doors know of the request that is being answered, for those deeper inside."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from worker.engine.events import Failed, Finished


@dataclass(frozen=True, slots=True)
class Visit:
    """`caller` is the name of a key. `priority` is what the header asks for, None if nothing, and
    counts only where `is_by_priority`. `on_end` is told how each generation ended."""

    caller: str
    priority: int | None
    is_by_priority: bool
    on_end: Callable[[Finished | Failed], None]

    def priority_of(self, asked: int) -> int:
        """What a generation's priority is when its body asks for this one."""
        if not self.is_by_priority:
            return 0
        return asked if self.priority is None else self.priority


visit: ContextVar[Visit | None] = ContextVar("visit", default=None)
