from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.slots import CELLS_PER_BLOCK, SlotPool, blocks_for


def check_integrity(pool: SlotPool) -> None:
    assert pool.used_blocks + pool.free_blocks == pool.total_blocks
    assert pool.free_blocks >= 0


def test_cells_are_rounded_up_to_blocks() -> None:
    assert [blocks_for(n) for n in (1, 256, 257, 512)] == [1, 1, 2, 2]


def test_a_lease_takes_the_lowest_free_slot() -> None:
    pool = SlotPool(3, 10 * CELLS_PER_BLOCK)
    assert [pool.lease(1), pool.lease(1)] == [0, 1]
    pool.release(0)
    assert pool.lease(1) == 0


def test_no_lease_without_a_slot_or_without_room() -> None:
    pool = SlotPool(2, 4 * CELLS_PER_BLOCK)
    pool.lease(3 * CELLS_PER_BLOCK)
    assert pool.can_lease(CELLS_PER_BLOCK)
    assert not pool.can_lease(CELLS_PER_BLOCK + 1)
    pool.lease(1)
    assert not pool.can_lease(0)
    with pytest.raises(AssertionError):
        pool.lease(1)


@given(st.lists(st.one_of(st.integers(1, 1500), st.none()), max_size=60))
def test_used_and_free_always_make_the_total(actions: list[int | None]) -> None:
    """A number leases that many cells, None gives the oldest lease back."""
    pool = SlotPool(5, 12 * CELLS_PER_BLOCK)
    leased: list[int] = []
    for cells in actions:
        if cells is None:
            if leased:
                pool.release(leased.pop(0))
        elif pool.can_lease(cells):
            leased.append(pool.lease(cells))
        check_integrity(pool)
        assert len(set(leased)) == len(leased)
        assert pool.num_free_slots == 5 - len(leased)
    for slot in leased:
        pool.release(slot)
    assert pool.free_blocks == pool.total_blocks
