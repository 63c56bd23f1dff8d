"""What is done for idle residents between steps, and while nobody waits for anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from worker.engine.blocks import CELLS_PER_BLOCK
from worker.engine.keeper import CacheKeeper
from worker.engine.residents import Residents

if TYPE_CHECKING:
    from worker.engine.cache.archive import Archive

# Where all share one pool of cells, attention passes over those of idle sequences too: 2,000 of
# them slow a decode down by 7 to 37 per cent, and bringing them back from RAM takes 10 ms.
_IDLE_SHARE = 0.125
_HIGH, _CRITICAL = 0.8, 0.9
_DIRTY_S = 10.0  # how long a finished turn may be in the context alone
_CHECK_EVERY_S = 1.0


class Housekeeping:
    """Moves idle residents out before their room is needed, and saves those that should survive."""

    def __init__(
        self,
        residents: Residents,
        keeper: CacheKeeper,
        archive: Archive | None,
        clock: Callable[[], float],
    ) -> None:
        self._residents = residents
        self._keeper = keeper
        self._archive = archive
        self._clock = clock
        self._checked_at = 0.0
        self._counted_changes = -1
        self._has_too_many = False

    def tidy(self) -> None:
        """Move out one idle resident if there are too many, or save one that has waited long."""
        if not self._residents.idle:
            return
        if self._is_crowded:
            self._evict_oldest()
            return
        now = self._clock()
        if now - self._checked_at >= _CHECK_EVERY_S:
            self._checked_at = now
            self._save_dirty(before=now - _DIRTY_S)

    @property
    def has_chores(self) -> bool:
        idle = self._residents.idle
        if not idle:
            return False
        return self._is_crowded or (self._has_disk and any(one.is_dirty for one in idle.values()))

    def do_chore(self) -> None:
        """As `tidy`, but at leisure: whoever is not saved has waited long enough."""
        if self._is_crowded:
            self._evict_oldest()
        else:
            self._save_dirty(before=float("inf"))

    def keep_all(self) -> None:
        """The worker is about to end: everything of use goes where it survives that."""
        if self._archive is None or not self._has_disk:
            return
        for one in self._residents.idle.values():
            if not one.is_saved and (one.agent or one.length >= CELLS_PER_BLOCK):
                self._keeper.save(one, durable=True)
        self._archive.keep_all()

    def spill(self, agent: str) -> bool:
        """Move an idle agent out of the context; False when it is not in it."""
        for one in self._residents.idle.values():
            if one.agent == agent:
                self._keeper.evict(one)
                return True
        return False

    @property
    def level(self) -> str:
        """How full the context is: "ok", "high", "critical" or "full"."""
        share = self._residents.ledger.used / max(1, self._residents.ledger.total)
        if share >= 1.0:
            return "full"
        return "critical" if share >= _CRITICAL else "high" if share >= _HIGH else "ok"

    @property
    def _is_crowded(self) -> bool:
        """Whether an idle one has to go. Not every step counts who holds what."""
        residents = self._residents
        if not residents.idle or residents.layout.is_split:
            return False
        if residents.ledger.used > _HIGH * residents.ledger.total:
            return True
        if residents.num_changes != self._counted_changes:
            self._counted_changes = residents.num_changes
            limit = max(1, _IDLE_SHARE * residents.ledger.total)
            self._has_too_many = residents.num_idle_blocks > limit
        return self._has_too_many

    @property
    def _has_disk(self) -> bool:
        return self._archive is not None and self._archive.has_disk

    def _evict_oldest(self) -> None:
        self._keeper.evict(next(iter(self._residents.idle.values())))

    def _save_dirty(self, before: float) -> None:
        if not self._has_disk:
            return
        for one in self._residents.idle.values():
            if one.is_dirty and one.used_at <= before:
                self._keeper.save(one, durable=True)
                return
