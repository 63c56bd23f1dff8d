from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.blocks import BlockLedger, LeakedBlocks, blocks_for


def test_cells_are_rounded_up_to_blocks() -> None:
    assert [blocks_for(n) for n in (0, 1, 256, 257, 512)] == [0, 1, 1, 2, 2]


def test_a_shared_block_is_counted_once_and_free_when_the_last_lets_go() -> None:
    ledger = BlockLedger(4)
    first = ledger.take(3)
    ledger.share(first[:2])
    assert (ledger.used, ledger.free) == (3, 1)
    assert ledger.only_held(first) == 1
    ledger.drop(first)
    assert (ledger.used, ledger.free) == (2, 2)
    ledger.drop(first[:2])
    assert (ledger.used, ledger.free) == (0, 4)


def test_more_than_there_is_cannot_be_taken() -> None:
    with pytest.raises(AssertionError):
        BlockLedger(2).take(3)


@given(st.lists(st.tuples(st.sampled_from(["take", "share", "drop"]), st.integers(0, 5))))
def test_used_and_free_always_make_the_total(actions: list[tuple[str, int]]) -> None:
    ledger = BlockLedger(12)
    tables: list[list[int]] = []
    for action, n in actions:
        if action == "take" and n <= ledger.free:
            tables.append(ledger.take(n))
        elif action == "share" and tables:
            table = tables[n % len(tables)]
            ledger.share(table)
            tables.append(list(table))
        elif action == "drop" and tables:
            ledger.drop(tables.pop(n % len(tables)))
        assert ledger.used + ledger.free == ledger.total
        ledger.check(tables)


def test_a_table_that_was_lost_is_noticed() -> None:
    ledger = BlockLedger(4)
    kept, lost = ledger.take(1), ledger.take(2)
    with pytest.raises(LeakedBlocks, match=str(sorted(lost)[0])):
        ledger.check([kept])
    ledger.check([kept, lost])
