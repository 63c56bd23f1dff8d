"""The cache's budget, in blocks of 256 cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

CELLS_PER_BLOCK = 256


def blocks_for(cells: int) -> int:
    """How many blocks hold that many cells."""
    return -(-cells // CELLS_PER_BLOCK)


class LeakedBlocks(Exception):
    """The ledger and those who hold its blocks disagree: a bug in the engine."""


class BlockLedger:
    """Who holds how much of the cache. used + free = total, always.

    A block is a promise, not a place: llama.cpp puts tokens into whatever cells are free, and
    because nobody is promised more than there is, a decode never finds the cache full. A whole
    block that sequences share is counted once, and is free again when the last of them lets go.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._holders = [0] * total
        self._free = list(range(total - 1, -1, -1))

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def used(self) -> int:
        return self.total - len(self._free)

    def take(self, count: int) -> list[int]:
        """That many blocks, held by the caller alone, who has asked whether they are `free`."""
        assert count <= len(self._free), "more blocks than there are"
        taken = [self._free.pop() for _ in range(count)]
        for block in taken:
            self._holders[block] = 1
        return taken

    def share(self, blocks: Iterable[int]) -> None:
        """One more holder for each of them."""
        for block in blocks:
            assert self._holders[block] > 0, "a free block cannot be shared"
            self._holders[block] += 1

    def drop(self, blocks: Iterable[int]) -> None:
        """One holder less for each of them."""
        for block in blocks:
            self._holders[block] -= 1
            if self._holders[block] == 0:
                self._free.append(block)

    def only_held(self, blocks: Iterable[int]) -> int:
        """How many of them would be free if one holder let go."""
        return sum(self._holders[block] == 1 for block in blocks)

    def check(self, tables: Iterable[Sequence[int]]) -> None:
        """Raises LeakedBlocks unless exactly these tables hold what is not free."""
        held = Counter(block for table in tables for block in table)
        counted = {block: n for block, n in enumerate(self._holders) if n}
        if held != counted:
            wrong = sorted(b for b in held.keys() | counted.keys() if held[b] != counted.get(b, 0))
            raise LeakedBlocks(f"blocks {wrong[:5]} are not held by whom the ledger says")
        if len(self._free) != self.total - len(counted) or len(set(self._free)) != len(self._free):
            raise LeakedBlocks(f"{len(self._free)} blocks are free of {self.total - len(counted)}")
