"""Which layout the context should have."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.runner import Layout

_CALM_S = 60.0  # after the last large request, before the usual layout is worth its making


class LayoutChoice:
    """The first layout is the usual one, until a request needs more than one of its slots has.

    Where nothing is shared, sixteen sequences decode up to a quarter faster with cells of their
    own than out of one pool; but then each can have no more than its share.
    """

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self.usual = layouts[0]
        self.largest = max(layouts, key=lambda layout: layout.slot_cells)
        self._large_at = float("-inf")

    def note(self, cells: int, now: float) -> None:
        """A sequence that needs so many has started."""
        if cells > self.usual.slot_cells:
            self._large_at = now

    def may_return(self, now: float) -> bool:
        return now - self._large_at > _CALM_S
