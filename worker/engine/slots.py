"""Sequence ids and the room in the KV cache, leased together."""

from __future__ import annotations

CELLS_PER_BLOCK = 256


def blocks_for(cells: int) -> int:
    """How many blocks hold that many cells."""
    return -(-cells // CELLS_PER_BLOCK)


class SlotPool:
    """Leases slots, each with a budget of blocks. used + free = total, always.

    The budget is a promise, not a place: llama.cpp puts tokens into whatever cells are free, and
    because nobody is promised more than there is, a decode never finds the cache full.
    """

    def __init__(self, num_slots: int, num_cells: int) -> None:
        self._free_slots = list(range(num_slots))
        self._leases: dict[int, int] = {}  # slot -> blocks
        self.num_slots = num_slots
        self.total_blocks = num_cells // CELLS_PER_BLOCK
        self.free_blocks = self.total_blocks

    @property
    def used_blocks(self) -> int:
        return sum(self._leases.values())

    @property
    def num_free_slots(self) -> int:
        return len(self._free_slots)

    def can_lease(self, cells: int) -> bool:
        return bool(self._free_slots) and blocks_for(cells) <= self.free_blocks

    def lease(self, cells: int) -> int:
        """A slot with room for that many cells. The caller has asked `can_lease`."""
        assert self.can_lease(cells), "lease without room"
        # The lowest id: backends do less for a dense range of ids.
        slot = min(self._free_slots)
        self._free_slots.remove(slot)
        self._leases[slot] = blocks_for(cells)
        self.free_blocks -= self._leases[slot]
        return slot

    def release(self, slot: int) -> None:
        self.free_blocks += self._leases.pop(slot)
        self._free_slots.append(slot)
